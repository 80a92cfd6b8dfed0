package client_test

import (
	"errors"
	"testing"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

func TestSettings(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		s, err := w.ann.UpdateSettings(ctx, map[string]any{"locale": "en", "features": map[string]any{"exportEnabled": false}})
		check(t, err)
		if s.Locale != "en" || s.Timezone != "Asia/Tokyo" || s.Features.ExportEnabled || !s.Features.APIEnabled {
			t.Errorf("%+v", s)
		}
		if s, err = w.operator.In(w.acme).Settings(ctx); err != nil || s.Locale != "en" || len(s.JSON) == 0 {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err = w.ann.UpdateSettings(ctx, map[string]any{"currency": "YEN"}); !errors.Is(err, fault.ValidationFailed) || fault.As(err).Fields[0].Field != "currency" {
			t.Errorf("%v", err)
		}
	})
}

func TestMasterSettings(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		value := map[string]any{"rate": 7}
		_, err := w.operator.PutMasterSetting(ctx, client.MasterRef{Level: "common", Code: "tax/a b"}, "Tax", value)
		check(t, err)
		group := client.MasterRef{Level: "group", GroupID: "sales#eu/日本", Code: "tax/a b"}
		put, err := w.ann.PutMasterSetting(ctx, group, "Tax", value)
		check(t, err)
		if put.GroupID != group.GroupID || put.Code != group.Code || put.Version != 1 || put.Changed == nil || !*put.Changed {
			t.Errorf("%+v", put)
		}
		_, err = w.ann.PutMasterSetting(ctx, client.MasterRef{Level: "user", UserID: "bob", Code: "tax/a b"}, "Bob's", value)
		check(t, err)
		got, err := w.ann.MasterSetting(ctx, "tax/a b", client.Resolution{UserID: "bob", Role: "clerk", Explain: true})
		check(t, err)
		if got.Level != "user" || got.UserID != "bob" || got.Name != "Bob's" || string(got.Value) != `{"rate":7}` || len(got.Explain.Levels) != 3 || got.Explain.Reason == "" {
			t.Errorf("%+v", got)
		}
		list, err := w.ann.MasterSettings(ctx, client.MasterQuery{Level: "group", GroupID: group.GroupID, Prefix: "tax"})
		check(t, err)
		if len(list.Items) != 1 || list.Items[0].GroupID != group.GroupID {
			t.Errorf("%+v", list)
		}
		gone, err := w.ann.DeleteMasterSetting(ctx, group)
		check(t, err)
		if gone.Version != 2 {
			t.Errorf("%+v", gone)
		}
		if _, err := w.ann.DeleteMasterSetting(ctx, group); !errors.Is(err, fault.NotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}
