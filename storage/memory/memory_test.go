package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(testing.TB) driver.Source { return memory.New() }

func TestContract(t *testing.T) { storagetest.Run(t, open) }

func FuzzKeys(f *testing.F) { storagetest.FuzzKeys(f, open) }

func Benchmark(b *testing.B) { storagetest.Bench(b, open) }
