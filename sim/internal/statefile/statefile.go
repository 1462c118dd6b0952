// Package statefile keeps the simulator's records in a file.
package statefile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Key names a record: a kind of object and its id.
type Key struct {
	Kind string
	ID   int
}

// Record is one object's new content; nil removes it.
type Record struct {
	Key     Key
	Content []byte
}

var bucketName = []byte("records")

// lockWait is how long a dying process may hold the file.
const lockWait = time.Second

// File is the state file; nil keeps nothing.
type File struct{ db *bbolt.DB }

// Open opens the state file; "" is none. Writes are not synced to
// the disk: they survive the end of the process, not of the machine.
func Open(path string) (*File, error) {
	if path == "" {
		return nil, nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, NoSync: true, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the simulator's state file %s: another simulator uses it: stop that one or choose another data directory", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the simulator's state file %s: %w: repair or remove it", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketName)
		return err
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("prepare the simulator's state file %s: %w", path, err)
	}
	return &File{db}, nil
}

// Write stores records in one transaction.
func (f *File) Write(records []Record) error {
	if f == nil {
		return nil
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketName)
		for _, record := range records {
			var err error
			if key := fmt.Appendf(nil, "%s/%010d", record.Key.Kind, record.Key.ID); record.Content == nil {
				err = bucket.Delete(key)
			} else {
				err = bucket.Put(key, record.Content)
			}
			if err != nil {
				return fmt.Errorf("store %s %d: %w", record.Key.Kind, record.Key.ID, err)
			}
		}
		return nil
	})
}

// Load calls the function with every record.
func (f *File) Load(each func(kind, id string, content []byte) error) error {
	if f == nil {
		return nil
	}
	return f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketName).ForEach(func(key, content []byte) error {
			kind, id, _ := strings.Cut(string(key), "/")
			return each(kind, id, content)
		})
	})
}

// Close closes the file.
func (f *File) Close() error {
	if f == nil {
		return nil
	}
	return f.db.Close()
}
