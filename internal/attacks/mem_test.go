package attacks_test

import (
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestMEM(t *testing.T) {
	w := newWorld(t)
	ua := w.token("ua")

	w.attack(t, "MEM-05", func(a *attack) {
		a.honest(get(ua, "/api/common/TEMPLATE/t1"))
		for _, kind := range []string{"USER_TENANT", "USER", "TENANT", "AUDIT", "SETTINGS", "MASTER", "INVITATION"} {
			base := "/api/common/" + kind
			for _, r := range []apitest.Request{get(ua, base), get(ua, base+"/MASTER"), get(ua, base+"/alpha%23ua"), get(ua, "/api/data/"+kind), get(ua, "/api/data/"+kind+"/MASTER/history"),
				with(get(ua, "/api/data/"+kind), tenantHeader, "common"), get(ua, "/api/tenants/common/data/"+kind)} {
				a.wants(r, 403, 404)
			}
		}
		a.hidden(get(ua, "/api/tenant/TENANT%23common/MASTER"), get(ua, "/api/tenant/TENANT%23zulu9/MASTER"))
		a.hidden(get(ua, "/api/common/TENANT/MASTER"), get(ua, "/api/common/NOSUCH/MASTER"))
	})
}
