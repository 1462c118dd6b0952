package opennebula

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Credentials are the server user's: the user of oned (serveradmin) that may
// act for every other one.
type Credentials struct{ User, Password string }

// String hides the password from anything that prints credentials.
func (c Credentials) String() string { return c.User + ":***" }

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// maxCredentialsSize bounds what is read from a credentials file, in bytes.
const maxCredentialsSize = 4096

// ReadCredentials reads a file that holds "serveradmin:password", such as
// OneFlow's /var/lib/one/.one/oneflow_auth.
func ReadCredentials(path string) (Credentials, error) {
	file, err := os.Open(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the server user's credentials: %w (run as oneadmin or give another file)", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxCredentialsSize+1))
	if err != nil {
		return Credentials{}, fmt.Errorf("read the server user's credentials from %s: %w", path, err)
	}
	if len(text) > maxCredentialsSize {
		return Credentials{}, fmt.Errorf("credentials file %s is larger than %d bytes: it must have one line, user:password", path, maxCredentialsSize)
	}
	credentials, err := ParseCredentials(string(text))
	if err != nil {
		return Credentials{}, fmt.Errorf("credentials file %s: %w", path, err)
	}
	return credentials, nil
}

// ParseCredentials reads "user:password"; blanks and line ends around it are
// left out. The error never repeats the text.
func ParseCredentials(text string) (Credentials, error) {
	line := strings.TrimSpace(text)
	if line == "" {
		return Credentials{}, errors.New("it is empty, but must have one line, user:password")
	}
	if strings.ContainsAny(line, "\r\n") {
		return Credentials{}, errors.New("it has more than one line, but must have one, user:password")
	}
	user, password, found := strings.Cut(line, ":")
	if !found || user == "" || password == "" {
		return Credentials{}, errors.New("it must have one line, user:password, and one of them is missing")
	}
	return Credentials{User: user, Password: password}, nil
}
