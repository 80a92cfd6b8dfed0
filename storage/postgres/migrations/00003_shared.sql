-- +goose Up

-- Whether other sessions than the holder's were there lately: what it commits they must be told.
ALTER TABLE feed ADD COLUMN shared boolean NOT NULL DEFAULT true;

-- +goose Down

ALTER TABLE feed DROP COLUMN shared;
