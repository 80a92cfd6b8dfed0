package tenantry

import (
	"context"
	"errors"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// secretsOwner is whom the rows of secrets belong to: the system.
const secretsOwner = "common"

// secretStore keeps secrets beside the records, as auth.SecretStore.
type secretStore struct{ keeper storage.Keeper }

// Load implements auth.SecretStore.
func (s secretStore) Load(ctx context.Context, name string) ([]byte, int64, error) {
	row, err := s.keeper.Get(ctx, secretsOwner, name)
	return row.Value, row.Version, err
}

// Save implements auth.SecretStore.
func (s secretStore) Save(ctx context.Context, name string, text []byte, version int64) error {
	value, err := record.ParseAttributes(text)
	if err != nil {
		return err
	}
	err = s.keeper.Commit(ctx, s.keeper.Put(storage.Row{Owner: secretsOwner, SK: name, Version: version - 1, Value: value}))
	if lost, ok := errors.AsType[*driver.Conflict](err); ok {
		return fault.Conflict("tenantry.secrets", version-1, lost.Actual)
	}
	return err
}

// StoredKeys returns the keys in a store that several processes share, sealed under a master key: for whoever changes them
// without an App. An App uses them where its Config has a MasterKey.
func StoredKeys(store *storage.Store, master auth.MasterKey) (auth.Keys, error) {
	keeper, err := store.Keeper(scope.NewRoot(), record.MustEntityType("SECRET"))
	return auth.StoredKeys(secretStore{keeper}, master), err
}

// openKeyring makes the built-in issuer where the Config brings none.
func (a *App) openKeyring(ctx context.Context) (err error) {
	if a.cfg.Keyring != nil {
		return nil
	}
	opts := auth.KeyringOptions{CrossTenantRoles: a.cfg.CrossTenantRoles, Now: a.cfg.Now, Log: a.cfg.Log}
	if a.cfg.MasterKey.IsZero() {
		a.cfg.Keyring, err = auth.NewKeyring(opts)
		return err
	}
	keys, err := StoredKeys(a.store, a.cfg.MasterKey)
	if err != nil {
		return err
	}
	a.cfg.Keyring, err = keys.Keyring(ctx, opts)
	return err
}
