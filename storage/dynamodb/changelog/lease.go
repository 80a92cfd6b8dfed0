package changelog

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// lease is the row that one sequencer at a time writes. A zero fence is no row.
type lease struct {
	owner       string
	fence       uint64 // grows with every holder
	step        uint64 // grows with every write of a holder
	end         uint64 // number of the newest entry
	began, done uint64 // rounds of reading
	released    bool
	at          int64 // Unix seconds of the holder's clock when a round began, for gaps of most of a day
}

// lease reads the row.
func (l *Log) lease(ctx context.Context) (lease, error) {
	out, err := l.cfg.DB.GetItem(ctx, &dynamodb.GetItemInput{TableName: &l.cfg.SystemTable, Key: key(state, leaseKey), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return lease{}, unavailable(ctx, err, "changelog")
	}
	return leaseOf(out.Item), nil
}

func leaseOf(it item) lease {
	return lease{owner: textOf(it, "owner"), fence: numberOf(it["fence"]), step: numberOf(it["step"]), end: numberOf(it["end"]), began: numberOf(it["began"]),
		done: numberOf(it["done"]), released: flagOf(it, "released"), at: int64(numberOf(it["at"]))}
}

// errReplaced is the end of a sequencer whose lease has another holder.
var errReplaced = errors.New("another process holds the lease of the change log")

// names of the lease's attributes in expressions, some of which are DynamoDB's own words.
var leaseNames = map[string]string{"#owner": "owner", "#fence": "fence", "#step": "step", "#end": "end", "#began": "began", "#done": "done", "#released": "released", "#at": "at"}

// take makes this process the holder after the one that was seen. It fails with errReplaced where another was faster, or the holder lives.
func (l *Log) take(ctx context.Context, seen lease) (lease, error) {
	held := seen
	held.owner, held.fence, held.released = l.cfg.Owner, seen.fence+1, false
	in := &dynamodb.UpdateItemInput{TableName: &l.cfg.SystemTable, Key: key(state, leaseKey), ExpressionAttributeNames: leaseNames,
		UpdateExpression:    aws.String("SET #owner = :owner, #fence = :fence, #step = :step, #end = :end, #began = :began, #done = :done, #released = :released, #at = :at"),
		ConditionExpression: aws.String("#fence = :seen AND #step = :step"),
		ExpressionAttributeValues: item{":owner": text(held.owner), ":fence": number(held.fence), ":seen": number(seen.fence), ":step": number(seen.step), ":end": number(held.end),
			":began": number(held.began), ":done": number(held.done), ":released": flag(false), ":at": number(held.at)}}
	if seen.fence == 0 {
		in.ConditionExpression = aws.String("attribute_not_exists(#fence)")
		delete(in.ExpressionAttributeValues, ":seen")
	}
	if _, err := l.cfg.DB.UpdateItem(ctx, in); err != nil {
		return lease{}, replaced(ctx, err)
	}
	return held, nil
}

// release lets another process take the lease at once. It is made in the last moment of a process: where it fails the lease runs out.
func (l *Log) release(ctx context.Context, held lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := l.cfg.DB.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &l.cfg.SystemTable, Key: key(state, leaseKey),
		ExpressionAttributeNames: map[string]string{"#fence": "fence", "#released": "released"}, UpdateExpression: aws.String("SET #released = :true"),
		ConditionExpression: aws.String("#fence = :fence"), ExpressionAttributeValues: item{":true": flag(true), ":fence": number(held.fence)}})
	return replaced(ctx, err)
}

// replaced translates the error of a write that is conditional on the lease.
func replaced(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return errReplaced
	}
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) && len(cancelled.CancellationReasons) > 0 && aws.ToString(cancelled.CancellationReasons[0].Code) == "ConditionalCheckFailed" {
		return errReplaced
	}
	return unavailable(ctx, err, "changelog.Run")
}

// advance turns the lease from held into next, and makes writes with it. Every write of the holder goes this way. Its condition is that this
// process holds the lease and that nothing was written since its last step, not even by a request of its own that was given up and arrives late.
func (l *Log) advance(ctx context.Context, held, next lease, writes []types.TransactWriteItem) error {
	update := &types.Update{TableName: &l.cfg.SystemTable, Key: key(state, leaseKey),
		ExpressionAttributeNames: map[string]string{"#fence": "fence", "#step": "step", "#end": "end", "#began": "began", "#done": "done", "#at": "at"},
		UpdateExpression:         aws.String("SET #step = :next, #end = :end, #began = :began, #done = :done, #at = :at"),
		ConditionExpression:      aws.String("#fence = :fence AND #step = :step"),
		ExpressionAttributeValues: item{":fence": number(held.fence), ":step": number(held.step), ":next": number(next.step), ":end": number(next.end),
			":began": number(next.began), ":done": number(next.done), ":at": number(next.at)}}
	if len(writes) > 0 {
		_, err := l.cfg.DB.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: append([]types.TransactWriteItem{{Update: update}}, writes...)})
		return replaced(ctx, err)
	}
	_, err := l.cfg.DB.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: update.TableName, Key: update.Key, UpdateExpression: update.UpdateExpression,
		ConditionExpression: update.ConditionExpression, ExpressionAttributeNames: update.ExpressionAttributeNames,
		ExpressionAttributeValues:           update.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) && leaseOf(failed.Item) == next {
		return nil // the SDK asked a second time, after an answer that was lost
	}
	return replaced(ctx, err)
}

// Run sequences while this process holds the lease, and tries to take it while another does: at once where the holder released it, after
// Config.Takeover where it died. It returns when ctx ends, after the lease was released.
func (l *Log) Run(ctx context.Context) {
	tick := time.NewTicker(min(250*time.Millisecond, l.cfg.Takeover/8))
	defer tick.Stop()
	var seen lease
	since := time.Now()  // when the lease was first seen as it is
	var rested time.Time // when this process may take it again
	for ctx.Err() == nil {
		found, err := l.look(ctx)
		if err == nil && found != seen {
			seen, since = found, time.Now()
		}
		if err == nil && time.Now().After(rested) && (found.fence == 0 || found.released || time.Since(since) >= l.cfg.Takeover) {
			if held, err := l.take(ctx, found); err == nil {
				l.lead(ctx, held)
				rested = time.Now().Add(l.cfg.Takeover) // others have their turn, where this process can't sequence
			} else if !errors.Is(err, errReplaced) && ctx.Err() == nil {
				l.cfg.Log.WarnContext(ctx, "the lease of the change log can't be taken; trying again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// lead sequences until ctx ends or the lease has another holder. After an error the holder does not know what was written, so it
// begins anew with what the store says. One that fails for two and a half times Config.Takeover lets another process try.
func (l *Log) lead(ctx context.Context, held lease) {
	log := l.cfg.Log.With("owner", held.owner, "fence", held.fence)
	log.InfoContext(ctx, "this process sequences the change log")
	worked, patience := time.Now(), l.cfg.Takeover*5/2
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		s, err := l.load(ctx, held) // says errReplaced where that is so; a step that fails may also have been made already
		if err == nil {
			var rounds int
			if rounds, err = s.run(ctx); rounds > 0 {
				worked, pause = time.Now(), 50*time.Millisecond
			}
		}
		switch {
		case s == nil && errors.Is(err, errReplaced):
			log.WarnContext(ctx, "another process sequences the change log now; this one was paused or cut off too long")
			return
		case ctx.Err() != nil || time.Since(worked) > patience:
			if err := l.release(ctx, held); err != nil && !errors.Is(err, errReplaced) {
				log.WarnContext(ctx, "the lease of the change log could not be released and runs out", "error", err)
			}
			return
		}
		log.WarnContext(ctx, "the change log could not be advanced; trying again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
