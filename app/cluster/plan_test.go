package cluster

import (
	"os"
	"testing"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
)

// The file that the welcome names is one that flowjet's commands read.
func TestCommandsFindTheCluster(t *testing.T) {
	plan := Plan{FrontEnds: Loopback(3), Oneds: Loopback(3), Ports: StandardPorts, DataDir: t.TempDir()}
	if err := os.WriteFile(plan.OperatorFile(), []byte(plan.operatorConfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	app.AddFlags(flags)
	config, err := app.ReadConfig(plan.OperatorFile(), flags)
	if err != nil {
		t.Fatal(err)
	}
	if config.NATS.URL != plan.NATS() || config.APIAddress() != plan.API(0) || config.NATS.Replicas != 3 || config.NATS.Provision {
		t.Errorf("the file says %+v", config.NATS)
	}
}
