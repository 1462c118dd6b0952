// Package systemd reports the state of a process to the service manager, by the notification protocol of
// sd_notify(3). Outside of systemd (without NOTIFY_SOCKET) it does nothing.
//
// Safety: the watchdog is fed only when the process has just proved to be alive. Liveness: it is fed twice in each of its periods.
package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/flowjet/flowjet/internal/idle"
)

// Ready reports that the start is done; status is shown by `systemctl status`.
func Ready(status string) { notify(daemon.SdNotifyReady + "\nSTATUS=" + status) }

// Stopping reports that the process is stopping.
func Stopping() { notify(daemon.SdNotifyStopping) }

// Reloading reports that the configuration is being read again; Ready ends it.
func Reloading() {
	notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Hold shows why the process ends, and waits until ctx ends or the pause is over, so that it is not restarted each second.
func Hold(ctx context.Context, why error, pause time.Duration) {
	if sent, _ := daemon.SdNotify(false, "STATUS="+why.Error()); sent {
		_ = idle.For(ctx, pause)
	}
}

// notify ignores errors: nobody could be notified of them.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Watch feeds the watchdog until ctx ends, as long as alive returns no error; it calls failed with
// each error. It returns at once if systemd expects nothing.
func Watch(ctx context.Context, alive func(context.Context) error, failed func(error)) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil || period == 0 {
		return
	}
	tick := time.Tick(period / 2)
	for {
		asking, cancel := context.WithTimeout(ctx, period/4)
		if err := alive(asking); err != nil && ctx.Err() == nil {
			failed(fmt.Errorf("notify systemd's watchdog: %w", err))
		} else {
			notify(daemon.SdNotifyWatchdog)
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}
