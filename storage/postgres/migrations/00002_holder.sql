-- +goose Up

-- One session holds the feed: it marks its commits in the feed's row, which every commit updates anyway, and not in its own row.
-- Base is the place before the first command of its commit with the number.
ALTER TABLE feed
    ADD COLUMN holder text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN number bigint NOT NULL DEFAULT 0,
    ADD COLUMN base   bigint NOT NULL DEFAULT 0;

-- +goose Down

ALTER TABLE feed DROP COLUMN holder, DROP COLUMN number, DROP COLUMN base;
