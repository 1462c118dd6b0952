package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// recordKey names a record of the state file: a kind of object and its id.
type recordKey struct {
	kind string
	id   int
}

func (k recordKey) bytes() []byte { return fmt.Appendf(nil, "%s/%010d", k.kind, k.id) }

// The kinds of records.
const (
	kindUser       = "user"
	kindGroup      = "group"
	kindDocument   = "document"
	kindTemplate   = "template"
	kindVM         = "vm"
	kindVMTexts    = "vmtexts"
	kindNetwork    = "network"
	kindVNTemplate = "vntemplate"
	kindVRouter    = "vrouter"
	kindNext       = "next"
)

var recordBucket = []byte("records")

// lockWait is how long a state file may be held by a dying process.
const lockWait = time.Second

// store is the state file, or nothing where the simulator forgets.
type store struct{ db *bbolt.DB }

// openStore opens the state file; "" keeps nothing. Writes are not synced to
// the disk: they survive the end of the process, not of the machine.
func openStore(path string) (*store, error) {
	if path == "" {
		return &store{}, nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, NoSync: true, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the simulator's state file %s: another simulator uses it: stop that one or choose another data directory", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the simulator's state file %s: %w: repair or remove it", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(recordBucket)
		return err
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("prepare the simulator's state file %s: %w", path, err)
	}
	return &store{db: db}, nil
}

// write stores records in one transaction; nil content removes one.
func (s *store) write(batches []*commit) error {
	if s.db == nil {
		return nil
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(recordBucket)
		for _, batch := range batches {
			for _, record := range batch.records {
				if err := putRecord(bucket, record); err != nil {
					return fmt.Errorf("store %s %d: %w", record.key.kind, record.key.id, err)
				}
			}
		}
		return nil
	})
}

func putRecord(bucket *bbolt.Bucket, record record) error {
	if record.content == nil {
		return bucket.Delete(record.key.bytes())
	}
	return bucket.Put(record.key.bytes(), record.content)
}

// load hands every record to the function.
func (s *store) load(each func(kind, id string, content []byte) error) error {
	if s.db == nil {
		return nil
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(recordBucket).ForEach(func(key, content []byte) error {
			kind, id, _ := strings.Cut(string(key), "/")
			return each(kind, id, content)
		})
	})
}

func (s *store) close() error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}
