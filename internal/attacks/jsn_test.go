package attacks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestJSN(t *testing.T) {
	w := newWorld(t)
	ua := w.token("ua")
	bad := []int{400, 422}
	body := func(text string) apitest.Request { return post(ua, productList, text) }

	w.attack(t, "JSN-01", func(a *attack) {
		a.writing("alpha")
		a.honest(body(`{"pk":"PRODUCT#alpha","name":"N"}`))
		a.wants(body(`{"pk":"PRODUCT#alpha","pk":"PRODUCT#bravo","name":"N"}`), bad...)
		a.wants(body(`{"pk":"PRODUCT#bravo","pk":"PRODUCT#alpha","name":"N"}`), bad...)
		a.wants(body(`{"pk":"PRODUCT#alpha","\u0070k":"PRODUCT#bravo","name":"N"}`), bad...)
	})
	w.attack(t, "JSN-02", func(a *attack) {
		a.writing("alpha")
		a.honest(body(`{"pk":"PRODUCT#alpha","tenantCode":"alpha","name":"N"}`))
		for _, members := range []string{`"pk":"PRODUCT#alpha","PK":"PRODUCT#bravo"`, `"Pk":"PRODUCT#bravo"`, `"tenantCode":"alpha","TENANTCODE":"bravo"`,
			`"tenantcode":"bravo"`, `"TenantCode":"bravo"`} {
			a.wants(body(`{`+members+`,"name":"N"}`), bad...)
		}
	})
	w.attack(t, "JSN-06", func(a *attack) {
		a.writing("alpha")
		const good = `{"name":"N"}`
		a.honest(body(good))
		var wide strings.Builder
		for _, unit := range utf16.Encode([]rune("\ufeff" + good)) {
			wide.Write([]byte{byte(unit >> 8), byte(unit)})
		}
		for _, text := range []string{good + good, good + `{"name":"N","tenantCode":"bravo"}`, good + " garbage", "\ufeff" + good, wide.String(), "", "[]", "null", `"x"`} {
			a.wants(body(text), bad...)
		}
	})
	w.attack(t, "JSN-07", func(a *attack) {
		a.writing("alpha")
		a.honest(body(`{"sk":"plain","name":"N"}`))
		for _, member := range []string{`"createdBy":"sa"`, `"updatedBy":"sa"`, `"createdAt":"2001-01-01T00:00:00.000Z"`, `"createdIp":"8.8.8.8"`, `"status":"finish:FINISHED"`, `"source":"x"`,
			`"requestId":"x"`, `"ttl":1`, `"isDeleted":true`, `"history":[]`, `"role":"system_admin"`, `"isDefault":true`, `"version":7`, `"syncMode":"ASYNC"`} {
			a.wants(body(`{"sk":"assigned","name":"N",`+member+`}`), bad...)
			a.wants(patch(ua, productList+"/plain", `{"version":1,"name":"M",%s}`, member), bad...)
		}
		a.wants(get(ua, productList+"/assigned"), 404)
		var rec struct {
			CreatedBy, CreatedIP string
			Version              int
		}
		if a.honest(get(ua, productList+"/plain")).Decode(a, &rec); rec.CreatedBy != "ua" || rec.CreatedIP != "127.0.0.1" || rec.Version != 1 {
			a.Errorf("the record is %+v", rec)
		}
	})
	w.attack(t, "JSN-08", func(a *attack) {
		a.writing("alpha")
		a.honest(body(`{"sk":"v","name":"1"}`))
		a.honest(patch(ua, productList+"/v", `{"version":1,"name":"2"}`))
		a.honest(patch(ua, productList+"/v", `{"version":2,"name":"3"}`))
		for _, version := range []string{"1.0", "3.0", "1e0", "3e0", `"3"`, "-2", "2147483648", "9007199254740993", "9223372036854775808", "null", "true"} {
			a.wants(put(ua, productList+"/v", `{"version":%s,"name":"silent"}`, version), 400, 409, 422)
		}
		a.wants(put(ua, productList+"/v", `{"name":"silent"}`), bad...)
		var rec struct{ Version int }
		if a.honest(get(ua, productList+"/v")).Decode(a, &rec); rec.Version != 3 {
			a.Errorf("the version is %d", rec.Version)
		}
		if a.honest(put(ua, productList+"/v", `{"version":-1,"name":"4"}`)).Decode(a, &rec); rec.Version != 4 { // documented: whatever is current
			a.Errorf("the version is %d", rec.Version)
		}
	})
	w.class(t, "tenants that are no text", func(a *attack) {
		a.writing("alpha")
		a.honest(body(`{"name":"N","tenantCode":"alpha"}`))
		for _, member := range []string{`"tenantCode":["bravo"]`, `"tenantCode":{"$ne":"alpha"}`, `"tenantCode":{"code":"bravo"}`, `"tenantCode":true`, `"pk":["PRODUCT#bravo"]`, `"pk":{"S":"PRODUCT#bravo"}`, `"pk":7`, `"id":["PRODUCT#bravo#b1"]`,
			`"tenantCode":"bra\u0000vo"`, `"tenantCode":"bravo\ud800"`, `"tenantCode":"alpha\nbravo"`, `"pk":"PRODUCT#alpha\u0000#bravo"`, `"pk":"PRODUCT\u0023bravo\u0023"`, `"tenant":"bravo"`, `"$tenantCode":"bravo"`} {
			a.wants(body(`{"sk":"untyped","name":"N",`+member+`}`), bad...)
			a.wants(post(ua, productList+"/bulk", `[{"sk":"untyped","name":"N"},{"sk":"untyped2","name":"N",`+member+`}]`), bad...)
			a.wants(post(ua, productList+"/get", `{"sks":["b1"],`+member+`}`), bad...)
		}
		for _, member := range []string{`"tenantCode":"\u0062ravo"`, `"pk":"PRODUCT\u0023bravo"`, `"\u0070k":"PRODUCT#bravo"`} { // the same text
			a.wants(body(`{"sk":"untyped","name":"N",`+member+`}`), 403)
		}
		if left := rows(a, a.honest(get(ua, productList+"?prefix=untyped"))); len(left) > 0 {
			a.Errorf("refused bodies left %v", left)
		}
		var rec struct{ PK, TenantCode string }
		inside := a.honest(body(`{"sk":"inside","name":"N","attributes":{"tenantCode":"bravo","pk":"PRODUCT#bravo","id":"PRODUCT#bravo#b1","x-tenant-code":"bravo"}}`))
		if inside.Decode(a, &rec); rec.PK != "PRODUCT#alpha" || rec.TenantCode != "alpha" {
			a.Errorf("attributes choose the tenant: %v", inside)
		}
	})
	w.attack(t, "JSN-10", func(a *attack) {
		a.writing("alpha")
		a.honest(body(`{"name":"N","attributes":{"list":[[[1]]]}}`))
		deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)
		var keys strings.Builder
		for i := range 1_000_000 {
			fmt.Fprintf(&keys, `,"k%d":1`, i)
		}
		for _, text := range []string{deep, `{"name":"N","attributes":{"x":` + deep + `}}`, `{"name":"N","attributes":{` + keys.String()[1:] + `}}`,
			`{"name":"N","attributes":{"x":[` + strings.Repeat("1,", 999_999) + `1]}}`} {
			a.wants(body(text), 400, 413, 422)
		}
		head := lines("POST "+productList+" HTTP/1.1", "Host: h", "Authorization: Bearer "+ua, "Content-Type: application/json", "Content-Length: 67108864", "", `{"name":"`)
		if answer := a.raw(ua, head); answer.Status != 413 { // decided by the announced length, before 64 MiB come
			a.Errorf("64 MiB: %v", answer)
		}
		chunk := strings.Repeat("x", 64<<10)
		chunked := lines("POST "+productList+" HTTP/1.1", "Host: h", "Authorization: Bearer "+ua, "Content-Type: application/json", "Transfer-Encoding: chunked", "") +
			strings.Repeat(fmt.Sprintf("%x\n%s\n", len(chunk), chunk), 20)
		if answer := a.raw(ua, chunked); !slices.Contains([]int{400, 413}, answer.Status) {
			a.Errorf("a body without an end: %v", answer)
		}
	})
}
