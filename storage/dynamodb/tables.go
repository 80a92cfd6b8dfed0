package dynamodb

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// tableWait is how long a new table may take to become usable.
const tableWait = 5 * time.Minute

// CreateTables creates the tables that are missing: the system's, and those of the modules of entity types. It touches nothing that
// exists, and returns the names of what it created. Tables are billed on demand, remove what has passed its ttl, and data tables
// have a stream of new and old images, which the change feed follows. It fails with fault.Unavailable.
func CreateTables(ctx context.Context, cfg Config, entityTypes ...string) (created []string, err error) {
	s, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer s.close()
	tables, err := s.wanted(entityTypes)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		made, err := s.create(ctx, t)
		if err != nil {
			return created, err
		}
		if made {
			created = append(created, t.name)
		}
	}
	for _, name := range created {
		if err := s.finish(ctx, name); err != nil {
			return created, err
		}
	}
	return created, nil
}

// wantedTable is a table that a store has.
type wantedTable struct {
	name       string
	collection driver.Collection
}

// wanted returns the tables of a store of entity types.
func (s server) wanted(entityTypes []string) ([]wantedTable, error) {
	tables := []wantedTable{{s.systemTable(), driver.System}}
	for _, entityType := range entityTypes {
		for _, c := range []driver.Collection{driver.Data, driver.Command, driver.History} {
			name, err := s.moduleTable(c, entityType)
			if err != nil {
				return nil, err
			}
			if t := (wantedTable{name, c}); !slices.Contains(tables, t) {
				tables = append(tables, t)
			}
		}
	}
	return tables, nil
}

func (s server) create(ctx context.Context, t wantedTable) (bool, error) {
	_, err := s.db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
		return false, translate(ctx, err, "dynamodb.CreateTables")
	}
	in := &dynamodb.CreateTableInput{
		TableName:   &t.name,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
	}
	if t.collection == driver.Data {
		in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}
	}
	_, err = s.db.CreateTable(ctx, in)
	if _, raced := errors.AsType[*types.ResourceInUseException](err); raced {
		return false, nil
	}
	return err == nil, translate(ctx, err, "dynamodb.CreateTables")
}

// finish waits until a new table can be used, and has what is expired removed from it.
func (s server) finish(ctx context.Context, name string) error {
	wait := dynamodb.NewTableExistsWaiter(s.db, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 250*time.Millisecond, 5*time.Second
	})
	if err := wait.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &name}, tableWait); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault.Wrap(err, fault.Unavailable, "dynamodb.CreateTables", "the table %s was created but can't be used yet; look at it with tenantry tables check", name)
	}
	_, err := s.db.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: &name,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)}})
	return translate(ctx, err, "dynamodb.CreateTables")
}
