package app

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
)

func logConfig(format string) Config {
	var config Config
	config.Log.Level, config.Log.Format = "debug", format
	return config
}

func TestJournaldReadsThePriorityOfEachLine(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLog(logConfig("journal"), &out)
	must(t, err)
	part := log.With("part", "api").WithGroup("g")
	part.Debug("a")
	part.Info("b", "level", 7)
	part.Warn("c")
	part.Error("two\nlines")
	want := "<7>msg=a part=api\n<6>msg=b part=api g.level=7\n<4>msg=c part=api\n<3>msg=\"two\\nlines\" part=api\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	must(t, setLevel(log.level, "error"))
	out.Reset()
	part.Warn("not any more")
	if out.Len() > 0 {
		t.Errorf("the level is not held: %q", out.String())
	}
}

func TestLogFormats(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLog(logConfig("json"), &out)
	must(t, err)
	log.Info("a", "service", 3)
	var line map[string]any
	must(t, json.Unmarshal(out.Bytes(), &line))
	if line["msg"] != "a" || line["level"] != slog.LevelInfo.String() || line["service"] != 3.0 {
		t.Errorf("%v", line)
	}
	t.Setenv("JOURNAL_STREAM", "")
	if format("auto") != "auto" || format("text") != "text" {
		t.Error("without a journal the format is not text")
	}
	t.Setenv("JOURNAL_STREAM", "8:1")
	if format("auto") != "journal" {
		t.Error("under systemd the format is not the journal's")
	}
}
