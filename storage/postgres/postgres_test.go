package postgres

import (
	"testing"

	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/storagetest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func open1(t testing.TB) driver.Source { return At(postgrestest.New(t), Options{}) }

func TestContract(t *testing.T) { storagetest.Run(t, open1) }

func FuzzKeys(f *testing.F) { storagetest.FuzzKeys(f, open1) }

func Benchmark(b *testing.B) { storagetest.Bench(b, open1) }
