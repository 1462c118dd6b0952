package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowjet/flowjet/pipeline"
)

// keysFolder is where a process with an embedded NATS server keeps the keys of those who
// may connect to it.
func (c Config) keysFolder() string { return filepath.Join(c.DataDir, "nats") }

// closesNATS reports whether the embedded server is closed by keys of the data folder: where
// no configuration file says who may do what. The servers of a cluster need one, for they
// have to know the same keys.
func (c Config) closesNATS() bool { return c.NATS.ServerFile == "" }

// serverFile is the embedded server's configuration file. Without one that is configured the
// keys are made at the first start, and the file that lets their owners in.
func (c Config) serverFile() (string, error) {
	if !c.closesNATS() {
		return c.NATS.ServerFile, nil
	}
	if err := os.MkdirAll(c.keysFolder(), 0o700); err != nil {
		return "", fmt.Errorf("make the folder of NATS keys: %w: choose another data folder with --data-dir", err)
	}
	if err := MakeKeys(c.keysFolder()); err != nil {
		return "", err
	}
	if err := moveToAccount(c.streamsFolder()); err != nil {
		return "", err
	}
	return filepath.Join(c.keysFolder(), AccountsFile), nil
}

// streamsFolder is the embedded server's.
func (c Config) streamsFolder() string { return filepath.Join(c.DataDir, "jetstream") }

// moveToAccount gives what a server without accounts has stored to Flowjet's account.
func moveToAccount(store string) error {
	const global = "$G"
	from, to := filepath.Join(store, "jetstream", global), filepath.Join(store, "jetstream", account)
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		return nil //nolint:nilerr // what is there is the account's, and what cannot be read the server reports
	}
	if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("give the streams in %s to the account %s: %w", from, account, err)
	}
	return nil
}

// localKey is the file of a role's key in the data folder, empty if there is none.
func (c Config) localKey(role pipeline.Role) (string, error) {
	path := filepath.Join(c.keysFolder(), string(role)+".nk")
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the NATS key: %w: run the command as the owner of the data folder, or name another key with --nats-nkey-file", err)
	}
	return path, file.Close()
}

// OperatorKey is the file of the operator's key in a data folder, empty if there is none.
func OperatorKey(dataDir string) (string, error) {
	return Config{DataDir: dataDir}.localKey(pipeline.RoleOperator)
}
