package command

import (
	"sync"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// beside returns what the system keeps in the commit that makes after of before.
func (s *Service) beside(typ entity.Type, key record.Key, before, after *record.Record) ([]storage.SystemWrite, error) {
	var writes []storage.SystemWrite
	if typ.UniqueCode {
		writes = append(writes, s.reserveCode(key, before, after)...)
	}
	for _, companion := range s.cfg.Companions[key.Type()] {
		more, err := companion(before, after)
		if err != nil {
			return nil, err
		}
		writes = append(writes, more...)
	}
	if before == nil && !s.known.has(key.PK()) {
		writes = append(writes, s.partitionWrite(key))
	}
	return writes, nil
}

// reserveCode keeps (tenant, type, code) for one live record.
func (s *Service) reserveCode(key record.Key, before, after *record.Record) []storage.SystemWrite {
	row := func(r *record.Record) storage.Row {
		value, _ := record.EncodeAttributes(map[string]string{"sk": r.SK})
		return storage.Row{Owner: key.Tenant().String(), SK: key.Type().String() + record.Separator + r.Code, Value: value}
	}
	held := before != nil && !before.IsDeleted
	wanted := !after.IsDeleted
	if held && wanted && before.Code == after.Code {
		return nil
	}
	var writes []storage.SystemWrite
	if held {
		writes = append(writes, s.cfg.Codes.Delete(row(before)))
	}
	if wanted {
		writes = append(writes, s.cfg.Codes.Put(row(after)))
	}
	return writes
}

// partitionWrite notes that the tenant has a partition, in the commit of its first record.
func (s *Service) partitionWrite(key record.Key) storage.SystemWrite {
	return s.cfg.Partitions.Set(storage.Row{Owner: key.Tenant().String(), SK: key.PK()})
}

// partitions remembers which partitions are noted, so that a record in one of them costs no further write.
type partitions struct {
	mu    sync.RWMutex
	noted map[string]struct{}
}

const maxNoted = 100_000

func (p *partitions) has(pk string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, ok := p.noted[pk]
	return ok
}

func (p *partitions) add(pk string) {
	if p.has(pk) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.noted) >= maxNoted || p.noted == nil {
		p.noted = map[string]struct{}{}
	}
	p.noted[pk] = struct{}{}
}
