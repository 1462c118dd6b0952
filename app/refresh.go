package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/embedded"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// checkZone returns an error if oned serves another zone of its federation. It asks the configured servers, before the zone
// is asked for its other servers: every zone knows those of all zones. The first answer counts.
func (c Config) checkZone(ctx context.Context, client *opennebula.Client) error {
	asking, cancel := context.WithTimeout(ctx, startPatience/2)
	defer cancel()
	answers := make(chan error, len(c.One.XMLRPC))
	for _, endpoint := range c.One.XMLRPC {
		go func() {
			zone, err := client.At(endpoint).OwnZone(asking)
			switch {
			case err != nil:
				answers <- errNoAnswer
			case zone >= 0 && zone != c.Zone:
				answers <- fmt.Errorf("oned at %s serves zone %d, but --zone is %d: set --zone %d, or another oned with --one-xmlrpc", endpoint, zone, c.Zone, zone)
			default:
				answers <- nil
			}
		}()
	}
	for range c.One.XMLRPC {
		if err := <-answers; !errors.Is(err, errNoAnswer) {
			return err
		}
	}
	return nil // the next call reports the error
}

var errNoAnswer = errors.New("no answer")

// AskOned authenticates at oned, as a start does.
func (c Config) AskOned(ctx context.Context) error {
	client, err := c.Oned(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := c.checkZone(ctx, client); err != nil {
		return err
	}
	_, err = client.Server().User(ctx, -1)
	switch {
	case err == nil:
		return nil
	case opennebula.IsCode(err, opennebula.CodeAuthentication):
		return fmt.Errorf("oned at %s refuses the server user of %s", strings.Join(c.One.XMLRPC, ", "), c.authFile())
	}
	return fmt.Errorf("oned at %s does not answer: %w", strings.Join(c.One.XMLRPC, ", "), err)
}

// authFile returns the file with the server user's credentials. If the standard file cannot be read, it is the file that a
// simulator has left in the same data folder.
func (c Config) authFile() string {
	if c.origins["one.auth_file"] != "the default" {
		return c.One.AuthFile
	}
	if file, err := os.Open(c.One.AuthFile); err == nil {
		file.Close()
		return c.One.AuthFile
	}
	simulated := filepath.Join(c.DataDir, SimulatedAuthFile)
	if _, err := os.Stat(simulated); err != nil {
		return c.One.AuthFile
	}
	return simulated
}

const (
	// SimulatedAuthFile and simulatedUserFile are the names, in the data folder, of the files with the credentials of the
	// simulator's server user and of its administrator, simulatedUser.
	SimulatedAuthFile = "simulated-oneflow_auth"
	simulatedUserFile = "simulated-one_auth"
	simulatedUser     = "oneadmin:opennebula"
)

// SimulatedUser returns the file with the credentials of a simulator's administrator, if a simulator uses the data folder
// that the environment names.
func SimulatedUser() string {
	return filepath.Join(cmp.Or(os.Getenv(envName("data-dir")), standardDataDir), simulatedUserFile)
}

// APIAddress returns the URL of this host's API.
func (c Config) APIAddress() string {
	if c.API.CertificateFile != "" {
		return "https://" + c.API.Listen
	}
	return "http://" + c.API.Listen
}

// Refresh returns the current state, from oned, of the objects that a service waits for. The error is inspect.UnreadableError
// if its document cannot be read.
func (c Config) Refresh(ctx context.Context, state flow.State) (flow.State, flow.Facts, error) {
	client, err := c.Oned(slog.New(slog.DiscardHandler))
	if err != nil {
		return state, nil, err
	}
	defer client.Close()
	client.Follow(ctx, c.Zone)
	current, facts, err := client.Server().Refresh(ctx, state)
	if err != nil {
		return state, nil, err
	}
	document, err := client.Server().Document(ctx, state.Service.ID)
	switch {
	case opennebula.Temporary(err):
		return state, nil, err
	case err != nil:
		return current, facts, nil //nolint:nilerr // a service that has ended has no document
	}
	if _, _, unreadable := spec.ReadService(document.Body); unreadable != nil {
		return current, facts, inspect.UnreadableError{Reason: unreadable}
	}
	return current, facts, nil
}

// documentsPage is how many documents are listed by one call.
const documentsPage = 500

// UnreadableServices returns the ids of the services whose documents at oned cannot be read, the newest first.
func (c Config) UnreadableServices(ctx context.Context) (ids []int, err error) {
	client, err := c.Oned(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	client.Follow(ctx, c.Zone)
	err = client.Server().DocumentPages(ctx, spec.DocumentTypeService, opennebula.FilterAll, documentsPage, func(documents []opennebula.Document) error {
		for _, document := range documents {
			if _, _, err := spec.ReadService(document.Body); err != nil {
				ids = append(ids, document.ID)
			}
		}
		return nil
	})
	return ids, err
}

// OnedTime returns the time of oned's HTTP server, in whole seconds.
func (c Config) OnedTime(ctx context.Context) (time.Time, error) {
	return opennebula.ServerTime(ctx, c.One.XMLRPC[0])
}

// maxHealth bounds how much of the API's answer is read.
const maxHealth = 64 << 10

// AskAPI returns this host's API's reasons for not being ready; empty if it is.
func (c Config) AskAPI(ctx context.Context) ([]string, error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if c.API.CertificateFile != "" {
		certificate, err := os.ReadFile(c.API.CertificateFile)
		if err != nil {
			return nil, fmt.Errorf("read the API's certificate: %w", err)
		}
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(certificate)
		// The API is asked at its listen address, not by the name in the certificate: this host's own certificate file is
		// trusted.
		transport.TLSClientConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
				_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: trusted})
				return err
			},
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.APIAddress()+"/flowjet/v1/health", http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		if failed, is := errors.AsType[*url.Error](err); is {
			err = failed.Err
		}
		return nil, fmt.Errorf("the API does not answer on %s: %w", c.API.Listen, err)
	}
	defer answer.Body.Close()
	var health struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons"`
	}
	err = json.NewDecoder(io.LimitReader(answer.Body, maxHealth)).Decode(&health)
	if err != nil || health.Ready == (len(health.Reasons) > 0) {
		return nil, fmt.Errorf("what listens on %s is not Flowjet's API", c.API.Listen)
	}
	return health.Reasons, nil
}

// Oned returns a client for commands that run beside the parts.
func (c Config) Oned(logger *slog.Logger) (*opennebula.Client, error) {
	credentials, err := readCredentials(c.authFile())
	if err != nil {
		return nil, err
	}
	return opennebula.NewClient(opennebula.Config{
		Endpoint: c.One.XMLRPC[0], Others: c.One.XMLRPC[1:], Credentials: credentials, Logger: logger,
	}), nil
}

func readCredentials(file string) (credentials opennebula.Credentials, err error) {
	if credentials, err = opennebula.ReadCredentials(file); err != nil {
		err = fmt.Errorf("%w: run as oneadmin, or set the right file with --one-auth-file", err)
	}
	return credentials, err
}

// HookEndpoints returns the configured endpoints, or port 2101 of each server of the zone.
func (c Config) HookEndpoints(ctx context.Context, oned *opennebula.Client) ([]string, error) {
	if len(c.One.Hooks) > 0 {
		return c.One.Hooks, nil
	}
	endpoints, err := bridge.HookEndpoints(ctx, oned, c.Zone, c.One.XMLRPC[0])
	if err != nil {
		return nil, fmt.Errorf("ask oned for the servers of zone %d: %w", c.Zone, err)
	}
	return endpoints, nil
}

// Store opens Flowjet's storage, for commands that run beside the parts or instead of them: the configuration's NATS
// servers, or the embedded server, which is started for it while Flowjet does not run. release closes it.
func (c Config) Store(ctx context.Context, logger *slog.Logger) (pipe *pipeline.Pipeline, release func(), err error) {
	asked := pipeline.Config{Role: pipeline.RoleOperator, Name: "flowjet", Bound: !c.NATS.Provision, Logger: logger}
	if c.NATS.URL != "" {
		pipe, err = c.Open(ctx, asked)
		if err != nil {
			return nil, nil, withAdvice(err, "check --nats-url")
		}
		return pipe, pipe.Close, nil
	}
	file, err := c.serverFile()
	if err != nil {
		return nil, nil, err
	}
	server, err := startEmbedded(embedded.Config{StoreDir: c.streamsFolder(), File: file, Name: c.NATS.Name, Logger: logger})
	stop := func() {}
	switch {
	case errors.Is(err, embedded.ErrInUse):
		asked.URL = "nats://" + c.NATS.Listen
	case err != nil:
		return nil, nil, err
	default:
		asked.URL, asked.Options = server.URL(), append(asked.Options, server.InProcess())
		stop = func() {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterPatience)
			defer cancel()
			_ = server.Stop(stopping) // everything acknowledged is on disk
			keepOwner(c.DataDir, logger)
		}
	}
	if pipe, err = c.Open(ctx, asked); err != nil {
		stop()
		return nil, nil, err
	}
	return pipe, func() { pipe.Close(); stop() }, nil
}

// keepOwner gives files that root has written below a folder to the folder's owner: the service runs as another user.
func keepOwner(folder string, logger *slog.Logger) {
	info, err := os.Stat(folder)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if !known || owner.Uid == 0 {
		return
	}
	err = filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, int(owner.Uid), int(owner.Gid))
		}
		return err
	})
	if err != nil {
		logger.Warn("files in the data folder stay root's: give them to its owner before the service starts", "folder", folder, "error", err)
	}
}
