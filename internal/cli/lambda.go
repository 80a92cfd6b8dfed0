package cli

import (
	"context"
	"io"
	"log/slog"
	"os"

	runtime "github.com/aws/aws-lambda-go/lambda"

	"github.com/alecthomas/kong"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/lambda"
)

// function are the flags of the program tenantry-lambda. In Lambda they come from the environment.
type function struct {
	tables
	TenantRole string `group:"where" placeholder:"ARN" help:"An IAM role; what a tenant asks for is done in a session of it that AWS keeps to the tenant's partitions. See tenantry policy trust. Defaults to none."`
	Blobs      string `group:"where" placeholder:"WHERE" help:"Where attributes above 32 KiB are, as s3://BUCKET. Defaults to the items themselves."`

	Auth             []string `group:"issuers" sep:"none" placeholder:"ISSUER" help:"An issuer of tokens, as of tenantry serve. May be repeated; in the environment, one on a line."`
	AuthorizerClaims string   `group:"issuers" placeholder:"NAME" help:"Take the claims that API Gateway's JWT authorizer has verified, for this issuer, which --auth describes. Its tokens count in no other way then. Off unless given."`

	MaxBody  int64  `group:"limits" default:"1048576" placeholder:"BYTES" help:"Size of the largest body. Defaults to 1048576."`
	LogLevel string `enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Defaults to info."`

	rules
}

// Lambda runs the application as a Lambda function and ends the process when Lambda does. The log is JSON on standard error.
func Lambda() {
	ctx := context.Background()
	f, app, err := openFunction(ctx, os.Args[1:], os.Stderr)
	if err != nil {
		os.Exit(report(os.Stderr, err))
	}
	runtime.StartWithOptions(f, runtime.WithContext(ctx), runtime.WithEnableSIGTERM(func() {
		if err := app.Close(); err != nil {
			slog.Error("the store could not be closed", "error", err)
		}
	}))
}

// openFunction opens the application and starts it. The caller closes the App.
func openFunction(ctx context.Context, args []string, out io.Writer) (_ *lambda.Function, _ *tenantry.App, err error) {
	var v function
	p, err := kong.New(&v, kong.Name("tenantry-lambda"), kong.Description("Tenantry as an AWS Lambda function over DynamoDB."),
		kong.Writers(out, out), kong.DefaultEnvars("TENANTRY"), kong.ExplicitGroups(groups))
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.Parse(args); err != nil {
		return nil, nil, fault.Wrap(err, fault.InvalidRequest, "cli.Lambda", "%v", err)
	}
	cfg, err := v.rules.config()
	if err != nil {
		return nil, nil, err
	}
	if cfg.Issuers, err = (&serve{Auth: v.Auth}).issuers(); err != nil {
		return nil, nil, err
	}
	var authorizer *lambda.Authorizer
	if v.AuthorizerClaims != "" {
		if authorizer, err = lambda.NewAuthorizer(v.AuthorizerClaims); err != nil {
			return nil, nil, err
		}
		if cfg.Issuers, err = authorizer.Trust(cfg.Issuers); err != nil {
			return nil, nil, err
		}
	}
	log := (&serve{LogLevel: &v.LogLevel}).log(out)
	app, err := store{engine: engine{Store: "dynamodb", TenantRole: v.TenantRole, Blobs: v.Blobs, tables: v.tables}}.open(ctx, cfg, log)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			app.Close()
		}
	}()
	handler, err := httpapi.New(app, httpapi.Config{MaxBody: v.MaxBody, TLS: true, Log: log})
	if err != nil {
		return nil, nil, err
	}
	if err := app.Start(ctx); err != nil {
		return nil, nil, err
	}
	feed, err := lambda.NewFeed(ctx, app)
	if err != nil {
		return nil, nil, err
	}
	return lambda.New(lambda.Config{API: handler, Authorizer: authorizer, Feed: feed, Log: log}), app, nil
}
