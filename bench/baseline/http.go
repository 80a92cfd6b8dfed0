package baseline

import (
	"io"
	"net/http"
)

// Handler returns a handler that reads the request, does some work, and answers with a status, headers and a body that
// Tenantry answered with. A nil work is none.
func Handler(status int, header http.Header, body []byte, work func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			io.Copy(io.Discard, r.Body)
		}
		if work != nil {
			if err := work(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		to := w.Header()
		for name, values := range header {
			to[name] = values
		}
		w.WriteHeader(status)
		w.Write(body)
	})
}
