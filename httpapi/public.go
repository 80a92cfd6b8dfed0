package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"time"

	"github.com/swaggest/swgui/v5emb"

	"github.com/tenantry/tenantry/fault"
)

// servePublic adds what is served without a token: health, the public keys, and the description with its reader.
func (h *Handler) servePublic() error {
	h.serve("GET", "/healthz", alive)
	h.serve("GET", "/readyz", h.ready)
	h.serve("GET", "/.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		h.static(w, r, "application/json", h.app.Keyring().JWKS())
	})
	h.serve("GET", "/openapi.json", h.description("application/json", h.document.json))
	h.serve("GET", "/openapi.yaml", h.description("application/yaml", h.document.yaml))
	return h.serveDocs()
}

func (h *Handler) static(w http.ResponseWriter, r *http.Request, kind string, body []byte) {
	stateOf(r).operation = r.Pattern
	w.Header().Set("Content-Type", kind)
	w.Write(body)
}

func (h *Handler) description(kind string, text func() ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := text()
		if err != nil {
			h.fail(w, r, fault.Wrap(err, fault.Internal, "httpapi", "the API can't be described"))
			return
		}
		h.static(w, r, kind, body)
	}
}

// alive says that the process serves.
func alive(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"status":"ok"}`))
}

// ready says that the store answers too. One that can't be written, on a full disk, still does: reads go on, and each write says what is wrong.
func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if err := h.app.Ready(ctx); err != nil {
		h.fail(w, r, fault.Wrap(err, fault.Unavailable, "httpapi", "the store does not answer"))
		return
	}
	alive(w, r)
}

var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// serveDocs serves the reader of the description, from embedded assets. Its page has a script of its own, which the
// content security policy names by its hash.
func (h *Handler) serveDocs() error {
	reader := v5emb.New("Tenantry", "/openapi.json", "/docs/")
	page := httptest.NewRecorder()
	request, err := http.NewRequest(http.MethodGet, "/docs/", nil)
	if err != nil {
		return err
	}
	reader.ServeHTTP(page, request)
	var hashes strings.Builder
	for _, script := range inlineScript.FindAllStringSubmatch(page.Body.String(), -1) {
		sum := sha256.Sum256([]byte(script[1]))
		hashes.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
	}
	policy := "default-src 'none'; script-src 'self'" + hashes.String() +
		"; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'"
	serve := func(w http.ResponseWriter, r *http.Request) {
		stateOf(r).operation = "docs"
		w.Header().Set("Content-Security-Policy", policy)
		reader.ServeHTTP(&assets{ResponseWriter: w, missing: func() { h.fail(w, r, noRoute()) }}, r)
	}
	h.serve("GET", "/docs", func(w http.ResponseWriter, r *http.Request) {
		stateOf(r).operation = "docs"
		http.Redirect(w, r, "/docs/", http.StatusPermanentRedirect)
	})
	h.serve("GET", "/docs/{asset...}", serve)
	return nil
}

// assets answers for an asset that isn't there as for a route that isn't.
type assets struct {
	http.ResponseWriter
	missing func() // answers; nil once it has
}

// WriteHeader implements http.ResponseWriter.
func (a *assets) WriteHeader(status int) {
	if status != http.StatusNotFound {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.missing()
	a.missing = nil
}

// Write implements http.ResponseWriter.
func (a *assets) Write(p []byte) (int, error) {
	if a.missing == nil {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}
