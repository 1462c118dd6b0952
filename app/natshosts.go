package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// How long certificates are good for, from an hour before they are made: clocks
// of hosts may differ.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 3 * 365 * 24 * time.Hour
	clockDoubt      = time.Hour
)

// hostName is a host's name or address, and nothing that leaves a folder.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`)

// CheckHosts says which of the names are none of hosts.
func CheckHosts(hosts []string) error {
	for _, host := range hosts {
		if !hostName.MatchString(host) {
			return fmt.Errorf("%q is not a host name: use names by which the other hosts can reach them, such as front-end-1", host)
		}
	}
	return nil
}

// MakeHosts makes, in the folder that MakeKeys has filled, an authority (ca.pem,
// ca.key) and below hosts/ a folder for each host with what belongs there: a
// certificate for its NATS server, the authority's, the accounts, and the seeds
// of the parts that run on a front-end. The authority is kept where it exists,
// and certificates are made anew.
func MakeHosts(folder string, hosts []string) error {
	if err := CheckHosts(hosts); err != nil {
		return err
	}
	authority, err := authorityIn(folder)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if err := authority.equip(folder, host); err != nil {
			return fmt.Errorf("create the files of host %s: %w", host, err)
		}
	}
	return nil
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

const (
	authorityFile    = "ca.pem"
	authorityKeyFile = "ca.key"
)

func authorityIn(folder string) (authority, error) {
	certificate, err := os.ReadFile(filepath.Join(folder, authorityFile))
	if errors.Is(err, os.ErrNotExist) {
		return newAuthority(folder)
	}
	if err != nil {
		return authority{}, fmt.Errorf("read the authority's certificate: %w", err)
	}
	path := filepath.Join(folder, authorityKeyFile)
	key, err := os.ReadFile(path)
	if err != nil {
		return authority{}, fmt.Errorf("read the key of the authority in %s: %w: create certificates on the host that has it, or with your own authority", authorityFile, err)
	}
	made, err := parseAuthority(certificate, key)
	if err != nil {
		return authority{}, fmt.Errorf("read the authority's key %s: %w: remove it and %s to create a new one", path, err, authorityFile)
	}
	return made, nil
}

func parseAuthority(certificate, key []byte) (authority, error) {
	block, _ := pem.Decode(certificate)
	keyBlock, _ := pem.Decode(key)
	if block == nil || keyBlock == nil {
		return authority{}, errors.New("it is not a PEM file")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return authority{}, err
	}
	private, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return authority{}, err
	}
	return authority{parsed, private}, nil
}

func newAuthority(folder string) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("create the authority's key: %w", err)
	}
	asked := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Flowjet's NATS servers"},
		NotBefore: time.Now().Add(-clockDoubt), NotAfter: time.Now().Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, asked, asked, &key.PublicKey, key)
	if err != nil {
		return authority{}, fmt.Errorf("create the authority's certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		return authority{}, fmt.Errorf("create the authority's certificate: %w", err)
	}
	// The key first: an authority without its key is of no use.
	if err := writeKey(filepath.Join(folder, authorityKeyFile), key, 0o600); err != nil {
		return authority{}, err
	}
	return authority{certificate, key}, writePEMFile(filepath.Join(folder, authorityFile), "CERTIFICATE", signed, 0o644)
}

// serial is a certificate's number, which no other has.
func serial() *big.Int {
	number, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand never fails
	return number
}

// equip fills the folder of a host.
func (a authority) equip(folder, host string) error {
	theirs := filepath.Join(folder, "hosts", host)
	if err := os.MkdirAll(theirs, 0o700); err != nil {
		return err
	}
	if err := a.certify(theirs, host); err != nil {
		return err
	}
	for _, name := range []string{AccountsFile, authorityFile} {
		if err := copyFile(filepath.Join(folder, name), filepath.Join(theirs, name), 0o644); err != nil {
			return err
		}
	}
	for _, role := range []pipeline.Role{pipeline.RoleBridge, pipeline.RoleWorker, pipeline.RoleAPI} {
		name := string(role) + ".nk"
		if err := copyFile(filepath.Join(folder, name), filepath.Join(theirs, name), partSecret); err != nil {
			return err
		}
	}
	return nil
}

// certify makes a certificate with which a host's server is known to parts and
// to the other servers, by its own name and, from the host itself, as localhost.
func (a authority) certify(folder, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	asked := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-clockDoubt), NotAfter: time.Now().Add(certificateLife),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		asked.IPAddresses = append(asked.IPAddresses, ip)
	} else {
		asked.DNSNames = slices.Insert(asked.DNSNames, 0, host)
	}
	signed, err := x509.CreateCertificate(rand.Reader, asked, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(folder, "server.key"), key, partSecret); err != nil {
		return err
	}
	return writePEMFile(filepath.Join(folder, "server.pem"), "CERTIFICATE", signed, 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey, mode os.FileMode) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("write the key %s: %w", path, err)
	}
	return writePEMFile(path, "EC PRIVATE KEY", der, mode)
}

func writePEMFile(path, kind string, content []byte, mode os.FileMode) error {
	return writeWhole(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), mode)
}

func copyFile(from, to string, mode os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeWhole(to, text, mode)
}

// writeWhole writes a file that nobody sees in part, or with another mode.
func writeWhole(path string, text []byte, mode os.FileMode) error {
	made, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = made.Write(text)
	err = errors.Join(err, made.Chmod(mode), made.Close())
	if err == nil {
		err = os.Rename(made.Name(), path)
	}
	if err != nil {
		_ = os.Remove(made.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
