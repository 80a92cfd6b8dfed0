package dynamodb

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Limits of DynamoDB, in bytes.
const (
	maxItem  = 400 << 10
	maxBatch = 4 << 20
)

func (e caller) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	l, err := e.enter(ctx, "dynamodb.Commit")
	if err != nil {
		return "", err
	}
	defer e.leave()
	if len(b.Writes) == 0 {
		return "", nil
	}
	if len(b.Writes) > driver.MaxBatch {
		return "", fault.New(fault.TooLarge, "dynamodb.Commit", "the batch has more than the %d writes that DynamoDB makes at once; write fewer records together", driver.MaxBatch)
	}
	in, err := e.transaction(ctx, l, b)
	if err != nil {
		return "", err
	}
	if err := e.transact(ctx, l, in, b); err != nil {
		return "", err
	}
	e.passes.note(b)
	e.feed.committed()
	return "", nil
}

// transaction returns the call that makes b, after its blobs are written. Its token is its own: whatever is sent again of it has one
// effect, and the same batch committed twice has two.
func (e *engine) transaction(ctx context.Context, l *layout, b driver.Batch) (*dynamodb.TransactWriteItemsInput, error) {
	in := &dynamodb.TransactWriteItemsInput{
		ClientRequestToken: aws.String(rand.Text()),
		TransactItems:      make([]types.TransactWriteItem, len(b.Writes)),
	}
	now, total := time.Now(), 0
	var content attributes
	for i, w := range b.Writes {
		table, err := e.table(w.Collection, w.Record.PK)
		if err != nil {
			return nil, err
		}
		if shardsOf(l.coming, w.Record.PK) > 0 {
			return nil, fault.New(fault.Unavailable, "dynamodb.Commit", "the partition is being spread over several keys; try again in a minute")
		}
		cond, key := conditionOf(w, now), l.keyOf(driver.RefOf(w.Collection, w.Record))
		if w.Delete {
			in.TransactItems[i].Delete = cond.delete(table, key)
			continue
		}
		it, err := encode(w.Collection, w.Record)
		if err != nil {
			return nil, err
		}
		it["pk"] = key["pk"]
		if err := content.put(ctx, e.server, it, w.Record); err != nil {
			return nil, err
		}
		n := sizeOf(it)
		if total += n; n > maxItem {
			return nil, fault.New(fault.TooLarge, "dynamodb.Commit", "a record is larger than the 400 KB that DynamoDB keeps in an item; make its attributes smaller, or configure a blob store")
		}
		// An item that the other framework may have written keeps what this engine doesn't know of it.
		if w.If.Kind == driver.IfAbsent || w.Collection == driver.System {
			in.TransactItems[i].Put = cond.put(table, it)
		} else {
			in.TransactItems[i].Update = cond.update(table, it, changing(w))
		}
	}
	if total > maxBatch {
		return nil, fault.New(fault.TooLarge, "dynamodb.Commit", "the batch is larger than the 4 MB that DynamoDB writes at once; write fewer records together")
	}
	return in, nil
}

// attributes are those of the record that was encoded last. A command and the state that it makes have the same.
type attributes struct {
	owner string // the partition: a blob is one tenant's
	text  []byte
	value types.AttributeValue
}

// put gives an item the attributes of its record: themselves, or where they are large the pointer to the blob in which they now stand.
func (a *attributes) put(ctx context.Context, s server, it item, r *record.Record) error {
	if len(r.Attributes) == 0 {
		return nil
	}
	if a.value == nil || a.owner != r.PK || !bytes.Equal(a.text, r.Attributes) {
		pointer, err := s.storeBlob(ctx, r)
		value := text(pointer)
		if err == nil && pointer == "" {
			value, err = encodeObject(r.Attributes)
		}
		if err != nil {
			return err
		}
		a.owner, a.text, a.value = r.PK, r.Attributes, value
	}
	it["attributes"] = a.value
	return nil
}

// condition is a driver.Condition in DynamoDB's words; its expression is "" for none.
type condition struct {
	expression string
	names      map[string]string
	values     item
}

func conditionOf(w driver.Write, now time.Time) condition {
	c := condition{names: make(map[string]string), values: make(item)}
	switch w.If.Kind {
	case driver.Always:
		return c
	case driver.IfAbsent:
		c.expression = "attribute_not_exists(pk)"
	case driver.IfVersion:
		c.expression = "#version = :if"
		if w.If.Version == 0 {
			c.expression = "(#version = :if OR attribute_exists(pk) AND attribute_not_exists(#version))"
		}
		c.names["#version"] = "version"
		c.values[":if"] = number(strconv.FormatInt(w.If.Version, 10))
	}
	if w.Collection == driver.System { // a row whose time is over is absent; a ttl that is NULL compares with nothing
		if w.If.Kind == driver.IfAbsent {
			c.expression += " OR #ttl < :now"
		} else {
			c.expression += " AND NOT #ttl < :now"
		}
		c.names["#ttl"] = "ttl"
		c.values[":now"] = number(strconv.FormatInt(now.Unix(), 10))
	}
	return c
}

// parts returns what calls take of a condition, nil where there is nothing.
func (c condition) parts() (expression *string, names map[string]string, values item) {
	if c.expression == "" {
		return nil, nil, nil
	}
	expression = &c.expression
	if len(c.names) > 0 {
		names, values = c.names, c.values
	}
	return expression, names, values
}

const allOld = types.ReturnValuesOnConditionCheckFailureAllOld

func (c condition) delete(table string, key item) *types.Delete {
	expression, names, values := c.parts()
	return &types.Delete{TableName: &table, Key: key, ConditionExpression: expression, ExpressionAttributeNames: names,
		ExpressionAttributeValues: values, ReturnValuesOnConditionCheckFailure: allOld}
}

func (c condition) put(table string, it item) *types.Put {
	expression, names, values := c.parts()
	return &types.Put{TableName: &table, Item: it, ConditionExpression: expression, ExpressionAttributeNames: names,
		ExpressionAttributeValues: values, ReturnValuesOnConditionCheckFailure: allOld}
}

// updating are the placeholders of attributes in updates, of one letter each: these make up a third of a commit, which is sent and signed.
var updating = func() (all []struct{ name, value string }) {
	for i := range attributeNames {
		letter := string(rune('a' + i))
		all = append(all, struct{ name, value string }{"#" + letter, ":" + letter})
	}
	return all
}()

// changing says by name which attributes an update of a row sets or removes: of those that items of its collection can have, the ones that
// it has not in common with the row that was read. What isn't a field of a record of its own counts as changed, and so do attributes, which may
// stand in another service's blob.
func changing(w driver.Write) []bool {
	names := namesOf(w.Collection)
	changes := make([]bool, len(names))
	for i, name := range names {
		changes[i] = w.Was == nil || !same(name, w.Record, w.Was)
	}
	return changes
}

// same reports whether two records have an attribute of an item in common.
func same(name string, a, b *record.Record) bool {
	switch name {
	case "seq":
		return a.Seq == b.Seq
	case "ttl":
		return a.TTL == b.TTL
	case "metadata":
		return bytes.Equal(a.Metadata, b.Metadata)
	}
	for _, f := range texts {
		if f.name == name {
			return *f.of(a) == *f.of(b)
		}
	}
	for _, f := range times {
		if f.name == name {
			return *f.of(a) == *f.of(b)
		}
	}
	return false
}

// update sets those of the attributes at indexes that change which it has, and removes the others.
func (c condition) update(table string, it item, changes []bool) *types.Update {
	set, remove := make([]byte, 0, 256), make([]byte, 0, 64)
	for i, change := range changes {
		if !change {
			continue
		}
		p, name := updating[i], attributeNames[i]
		c.names[p.name] = name
		if v, ok := it[name]; ok {
			c.values[p.value] = v
			set = append(append(append(append(set, ','), p.name...), '='), p.value...)
		} else {
			remove = append(append(remove, ','), p.name...)
		}
	}
	expression := "SET " + string(set[1:]) // the version is always set
	if len(remove) > 0 {
		expression += " REMOVE " + string(remove[1:])
	}
	cond, _, _ := c.parts()
	return &types.Update{TableName: &table, Key: item{"pk": it["pk"], "sk": it["sk"]}, UpdateExpression: &expression,
		ConditionExpression: cond, ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
		ReturnValuesOnConditionCheckFailure: allOld}
}

// transact makes the call until it has an answer that says whether the writes were made. An answer may be lost behind the
// server; the same call again, with its token, is then answered as the first was. A server that has forgotten the token finds the
// conditions broken by the writes themselves, so after a lost answer the rows say what became of it.
func (e caller) transact(ctx context.Context, l *layout, in *dynamodb.TransactWriteItemsInput, b driver.Batch) error {
	refs := make([]driver.Ref, len(b.Writes))
	for i, w := range b.Writes {
		refs[i] = driver.RefOf(w.Collection, w.Record)
	}
	session, lost := e.session(refs...), false
	for attempt := 0; ; attempt++ {
		if now, err := e.layout(ctx, "dynamodb.Commit"); err != nil {
			return err
		} else if now.version != l.version {
			return fault.New(fault.Unavailable, "dynamodb.Commit", "partitions were spread over several keys meanwhile; try again")
		}
		_, err := e.db.TransactWriteItems(ctx, in, once, session)
		if err == nil {
			return nil
		}
		v := judge(err, b)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case v.conflict == nil && !v.again:
			return translate(ctx, err, "dynamodb.Commit")
		case v.conflict == nil && attempt+1 == maxAttempts:
			return busy(err, "dynamodb.Commit")
		case v.mismatch || v.conflict != nil && lost:
			if made, err := e.made(ctx, l, b); made || err != nil {
				return err
			}
			if v.conflict != nil {
				return v.conflict
			}
			in.ClientRequestToken = aws.String(rand.Text()) // what the server has under the old one wrote nothing of this batch
		case v.conflict != nil:
			return v.conflict
		}
		lost = lost || v.lost
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// once keeps the client from trying again by itself: transact does, and has to know of it.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// verdict is what the error of a transaction says.
type verdict struct {
	conflict *driver.Conflict // a condition does not hold
	mismatch bool             // the server has the token with another content
	again    bool             // it is worth trying again, a mismatch included
	lost     bool             // the writes may have been made
}

func judge(err error, b driver.Batch) verdict {
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok {
		return judgeReasons(cancelled.CancellationReasons, b)
	}
	if _, ok := errors.AsType[*types.IdempotentParameterMismatchException](err); ok {
		return verdict{mismatch: true, again: true}
	}
	again, lost := transient(err)
	return verdict{again: again, lost: lost}
}

// judgeReasons looks for the first write that was refused. What another transaction held up is not known to fail, so a
// conflict behind it is not yet the first.
func judgeReasons(reasons []types.CancellationReason, b driver.Batch) verdict {
	for i, r := range reasons {
		switch code := aws.ToString(r.Code); code {
		case "", "None":
		case "ConditionalCheckFailed":
			if i >= len(b.Writes) {
				return verdict{}
			}
			return verdict{conflict: conflictOf(i, b.Writes[i], r.Item)}
		default:
			return verdict{again: transientCodes[code]}
		}
	}
	return verdict{}
}

func conflictOf(i int, w driver.Write, found item) *driver.Conflict {
	if len(found) == 0 {
		return &driver.Conflict{Write: i}
	}
	rec, _, err := decode(w.Collection, found)
	switch {
	case err != nil: // the row is there, and not one of the data model
		return &driver.Conflict{Write: i, Found: true}
	case expired(w.Collection, rec, time.Now()):
		return &driver.Conflict{Write: i}
	}
	return &driver.Conflict{Write: i, Found: true, Actual: rec.Version}
}

// made reports whether the rows are those that b makes. A command says it alone: no other has its key, and what another
// request wrote under it differs at least in its request's ID or its time.
func (e caller) made(ctx context.Context, l *layout, b driver.Batch) (bool, error) {
	for _, w := range b.Writes {
		if w.Collection == driver.Command && !w.Delete {
			return e.stands(ctx, l, w)
		}
	}
	for _, w := range b.Writes {
		if stands, err := e.stands(ctx, l, w); !stands || err != nil {
			return false, err
		}
	}
	return true, nil
}

// stands reports whether the row that w names is what w makes it.
func (e caller) stands(ctx context.Context, l *layout, w driver.Write) (bool, error) {
	rec, err := e.get(ctx, l, driver.RefOf(w.Collection, w.Record))
	if err != nil || rec == nil || w.Delete {
		return err == nil && rec == nil && w.Delete, err
	}
	want := w.Record.Clone()
	want.StoredPK = ""
	return reflect.DeepEqual(want, rec), nil
}
