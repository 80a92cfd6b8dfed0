package httpapi

import (
	"mime"
	"net/http"

	"github.com/tenantry/tenantry/route"
)

// download sends a file while it is made. Where that ends early the connection does too, so that nobody takes a part for the whole.
func download(w http.ResponseWriter, r *http.Request, a route.Answer) {
	header := w.Header()
	header.Set("Content-Type", a.Download.Type)
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.Download.Name}))
	if a.Position != "" {
		header.Set(positionHeader, string(a.Position))
	}
	w.WriteHeader(a.Status)
	if r.Method == http.MethodHead {
		return
	}
	if err := a.Download.Write(w); err != nil {
		panic(http.ErrAbortHandler)
	}
}
