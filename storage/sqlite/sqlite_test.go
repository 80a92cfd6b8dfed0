package sqlite

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func inTemp(t testing.TB) driver.Source { return At(t.TempDir()) }

func TestContract(t *testing.T) { storagetest.Run(t, inTemp) }

func Benchmark(b *testing.B) { storagetest.Bench(b, inTemp) }
