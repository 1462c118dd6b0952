package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/webhooks"
)

// check returns the fault of an option's value, with what mends it; empty for none. Config.check has the rules about
// several options.
type check func(value any) string

// complaint returns the fault of a value; empty for none.
func (o option) complaint(value any) string {
	if o.check == nil {
		return ""
	}
	return o.check(value)
}

// mustBe returns the fault of a value that is not as it must be.
func mustBe(fine bool, what string, arguments ...any) string {
	if fine {
		return ""
	}
	return "it must be " + fmt.Sprintf(what, arguments...)
}

func atLeast(least int) check {
	return func(value any) string { return mustBe(value.(int) >= least, "%d or more", least) }
}

func between(least, most int) check {
	return func(value any) string {
		return mustBe(value.(int) >= least && value.(int) <= most, "%d to %d", least, most)
	}
}

func atLeastASecond(value any) string {
	return mustBe(value.(time.Duration) >= time.Second, "1s or more")
}

// listIn returns a list, also from a text of several with commas.
func listIn(value any) []string {
	if text, single := value.(string); single && text != "" {
		return strings.Split(text, ",")
	}
	list, _ := value.([]string)
	return list
}

func knownDeadlines(value any) string {
	if _, _, err := parseDeadlines(listIn(value)); err != nil {
		return "it " + err.Error()
	}
	return ""
}

func oneOf(allowed ...string) check {
	return func(value any) string {
		text := value.(string)
		return mustBe(slices.Contains(allowed, text), "one of %s%s", strings.Join(allowed, ", "), suggestion(text, allowed))
	}
}

func orEmpty(wanted check) check {
	return func(value any) string {
		if value == "" {
			return ""
		}
		return wanted(value)
	}
}

func notEmpty(value any) string {
	if value == "" {
		return "it must not be empty"
	}
	return ""
}

func linkOfVM(value any) string {
	text := value.(string)
	parsed, err := url.Parse(text)
	return mustBe(err == nil && slices.Contains([]string{"http", "https"}, parsed.Scheme) && strings.Contains(text, "{id}"),
		"an http or https address with {id} in it, such as https://sunstone.example.com/fireedge/sunstone/vm/{id}")
}

func address(value any) string {
	_, port, err := net.SplitHostPort(value.(string))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return mustBe(err == nil, "host:port, such as 127.0.0.1:2474")
}

// addressesOfZone requires three addresses for the first server, and two for each further one.
func addressesOfZone(value any) string {
	list := listIn(value)
	if len(list) < 3 || len(list)%2 == 0 {
		return "it must name XML-RPC, hook events and control API, then XML-RPC and hook events of each further server"
	}
	for _, one := range list {
		if complaint := address(one); complaint != "" {
			return complaint
		}
	}
	return ""
}

// each checks one URL, several with commas, or a list of them. Passwords do not belong in URLs: they would show in process
// lists and logs.
func each(said string, schemes ...string) check {
	return func(value any) string {
		for _, text := range listIn(value) {
			text = strings.TrimSpace(text)
			if !strings.Contains(text, "://") && slices.Contains(schemes, "nats") {
				text = "nats://" + text // NATS servers may be named without it
			}
			parsed, err := url.Parse(text)
			switch {
			case err != nil || parsed.Host == "" || !slices.Contains(schemes, parsed.Scheme):
				return fmt.Sprintf("it must be %s://host:port", strings.NewReplacer(", ", "://, ", " or ", ":// or ").Replace(said))
			case parsed.User != nil:
				return "it contains a user or password: remove it and set a file that contains it (one.auth_file, nats.nkey_file)"
			}
		}
		return ""
	}
}

// quoted returns a value for messages, unless it may hold a secret.
func quoted(value any) string {
	switch typed := value.(type) {
	case string:
		if strings.Contains(typed, "@") && strings.Contains(typed, "://") {
			return "an address with a user"
		}
		return fmt.Sprintf("%q", typed)
	case []string:
		if strings.Contains(strings.Join(typed, ""), "@") {
			return "a list with a user in an address"
		}
	}
	return fmt.Sprint(value)
}

// check finds options that contradict each other.
func (c Config) check() []string {
	var found []string
	add := func(key, format string, arguments ...any) {
		found = append(found, at(c.origins[key], fmt.Sprintf(format, arguments...)))
	}
	if c.NATS.Replicas > 1 && c.NATS.URL == "" && len(c.NATS.Routes) == 0 {
		add("nats.replicas", "nats.replicas is %d, but the embedded server is not part of a cluster: set nats.url to the servers of one, or nats.routes to its other servers", c.NATS.Replicas)
	}
	if c.DataDir == "" {
		add("data_dir", "data_dir is empty: give a folder, such as %s", standardDataDir)
	}
	if len(c.One.XMLRPC) == 0 {
		add("one.xmlrpc", "one.xmlrpc is empty: give at least one http://host:2633/RPC2")
	}
	if (c.API.CertificateFile == "") != (c.API.KeyFile == "") {
		add("api.key_file", "api.certificate_file and api.key_file belong together: set both or none")
	}
	if c.NATS.ServerFile == "" && len(c.NATS.Routes) > 0 {
		add("nats.server_file", "nats.server_file is not set, and the servers of a cluster need the same users: set it to the cluster.conf that `flowjet nats keys` creates, or to a file with TLS between the servers")
	}
	return found
}

// checkFiles checks that the named files exist, and that the webhooks file can be used: a worker does not start with it otherwise.
func (c Config) checkFiles() []string {
	var found []string
	files := c.files()
	for _, key := range slices.Sorted(maps.Keys(files)) {
		path := files[key]
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			found = append(found, at(c.origins[key], fmt.Sprintf("%s is %s, which does not exist: create it or set another file", key, path)))
		case err != nil:
			found = append(found, at(c.origins[key], fmt.Sprintf("%s is %s, which cannot be used: %v", key, path, err)))
		case info.IsDir():
			found = append(found, at(c.origins[key], fmt.Sprintf("%s is %s, which is a folder: set a file", key, path)))
		case key == "webhooks.file":
			if _, err := webhooks.ReadSettings(path); err != nil {
				found = append(found, at(c.origins[key], err.Error()))
			}
		}
	}
	return found
}

// files returns the files that have to exist, by key.
func (c Config) files() map[string]string {
	named := map[string]string{
		"api.certificate_file": c.API.CertificateFile, "api.key_file": c.API.KeyFile,
		"nats.server_file": c.NATS.ServerFile, "nats.nkey_file": c.NATS.NkeyFile,
		"nats.ca_file": c.NATS.CAFile, "nats.certificate_file": c.NATS.CertificateFile,
		"webhooks.file": c.Webhooks.File,
	}
	if !c.Sim.Enabled {
		named["one.auth_file"] = c.One.AuthFile
	}
	for _, role := range pipeline.Roles { // the roles of this host are not known here: one file is enough
		file := strings.ReplaceAll(c.NATS.NkeyFile, roleMark, string(role))
		if _, err := os.Stat(file); err == nil {
			named["nats.nkey_file"] = file
			break
		}
	}
	maps.DeleteFunc(named, func(_, path string) bool { return path == "" })
	return named
}

// secretFiles are the keys of files with secrets.
var secretFiles = []string{"api.key_file", "nats.certificate_file", "nats.nkey_file", "one.auth_file"}

// packagedUser is the user as whom the packages' units run.
const packagedUser = "flowjet"

// unreadable returns a warning for each file that a user, as whom root asks, cannot read. The packages' units have systemd read one.auth_file.
func (c Config) unreadable(file, name string) (found []string) {
	if _, err := user.Lookup(name); err != nil || os.Geteuid() != 0 {
		return nil
	}
	named := c.files()
	named["the configuration"] = file
	delete(named, "one.auth_file")
	settings, _ := webhooks.ReadSettings(c.Webhooks.File) // its errors are found elsewhere
	for _, receiver := range settings.Receivers {
		named["the secret of webhook receiver "+receiver.Name] = receiver.SecretFile
	}
	for _, secret := range settings.Secrets {
		named["the webhook secret "+secret.Name] = secret.File
	}
	for _, key := range slices.Sorted(maps.Keys(named)) {
		path := named[key]
		_, err := os.Stat(path)
		asked := exec.CommandContext(context.Background(), "runuser", "-u", name, "--", "test", "-r", path).Run()
		if _, denied := errors.AsType[*exec.ExitError](asked); denied && err == nil {
			found = append(found, fmt.Sprintf("%s: the user %s, as whom the packages run Flowjet, cannot read %s: `chgrp %s %s && chmod g+r %s`, and its folders need x", key, name, path, name, path, path))
		}
	}
	return found
}

// doubts returns warnings about settings that work and may yet be a mistake.
func (c Config) doubts() []string {
	var found []string
	named := c.files()
	for _, key := range secretFiles {
		info, err := os.Stat(named[key])
		if err == nil && info.Mode().Perm()&0o007 != 0 {
			found = append(found, at(c.origins[key], fmt.Sprintf("%s: everybody on this host can read %s: chmod o= it", key, filepath.Clean(named[key]))))
		}
	}
	host, _, _ := net.SplitHostPort(c.Status.Listen) // the option's check has refused an address that cannot be split
	if c.Status.Listen != "" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		found = append(found, at(c.origins["status.listen"], fmt.Sprintf("status.listen is %s: it is accessible without a password; use a loopback address, or a firewall", c.Status.Listen)))
	}
	return found
}

// at returns a message about a configuration behind the place where it was set: flowjet.yaml:7, FLOWJET_ZONE or --zone.
func at(where, what string) string { return where + ": " + what }

// FlagError rewords an error of the command line for people.
func FlagError(err error) error {
	bad, is := errors.AsType[*pflag.InvalidValueError](err)
	if !is {
		return err
	}
	for _, o := range options {
		if _, complaint := parse(o.standard, bad.GetValue()); o.flag == bad.GetFlag().Name && complaint != "" {
			return fmt.Errorf("--%s %s", o.flag, complaint)
		}
	}
	return err
}

// Nearest returns the name that was perhaps meant; empty if none is similar.
func Nearest(given string, known []string) string {
	nearest, least := "", len(given)/3+2
	for _, name := range known {
		distance := levenshtein.ComputeDistance(given, name)
		if last := name[strings.LastIndexByte(name, '.')+1:]; last == given {
			distance = 0 // the right name without its section
		}
		if distance < least {
			nearest, least = name, distance
		}
	}
	return nearest
}

// suggestion names the most similar known name, if one is similar.
func suggestion(given string, known []string) string {
	nearest := Nearest(given, known)
	if nearest == "" {
		return "; `flowjet help options` lists all options"
	}
	return fmt.Sprintf("; did you mean %s?", nearest)
}
