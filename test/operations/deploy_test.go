package operations_test

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// unit returns the settings of a systemd unit, by section and name; a setting may
// be there several times.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(path("deploy", "systemd", "lifeboat.service"))
	must(t, err)
	settings, section := map[string][]string{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch name, value, ok := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case ok:
			settings[section+"."+name] = append(settings[section+"."+name], value)
		default:
			t.Errorf("the line %q is no setting", line)
		}
	}
	return settings
}

func TestUnitIsHardened(t *testing.T) {
	settings := unit(t)
	for name, want := range map[string]string{
		"Service.User": "lifeboat", "Service.NoNewPrivileges": "yes", "Service.CapabilityBoundingSet": "", "Service.ProtectSystem": "strict",
		"Service.ProtectHome": "yes", "Service.PrivateTmp": "yes", "Service.PrivateDevices": "yes", "Service.LimitCORE": "0",
		"Service.MemorySwapMax": "0", "Service.UMask": "0077", "Service.StateDirectoryMode": "0700", "Service.Restart": "always",
		"Service.RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "Service.ExecReload": "/bin/kill -HUP $MAINPID",
	} {
		if got := settings[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// systemd finds nothing wrong with the unit, and that it is well confined.
func TestUnitPassesSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		skiptest.Missing(t, "systemd-analyze", "apt-get install systemd")
	}
	data, err := os.ReadFile(path("deploy", "systemd", "lifeboat.service"))
	must(t, err)
	self, err := os.Executable() // any program that is there
	must(t, err)
	name := filepath.Join(t.TempDir(), "lifeboat.service")
	must(t, os.WriteFile(name, []byte(strings.ReplaceAll(string(data), "/usr/local/bin/lifeboat", self)), 0o600))
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "--threshold=20", name).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// instruction is one of a Containerfile.
type instruction struct{ name, rest string }

func containerfile(t *testing.T) (all []instruction) {
	t.Helper()
	data, err := os.ReadFile(path("deploy", "container", "Containerfile"))
	must(t, err)
	for line := range strings.Lines(strings.ReplaceAll(string(data), "\\\n", " ")) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"FROM", "WORKDIR", "COPY", "ARG", "RUN", "USER", "VOLUME", "EXPOSE", "ENV", "ENTRYPOINT", "CMD"}, name) {
			t.Errorf("%s is no instruction that is expected", name)
		}
		all = append(all, instruction{name, rest})
	}
	return all
}

// The image is one static binary on nothing, and does not run as root. What no
// container engine is needed for is checked: that what is copied exists, and that
// the binary is built by the command of the file.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	stage := map[string]bool{}
	last := map[string]string{}
	for _, i := range containerfile(t) {
		switch i.name {
		case "FROM":
			_, name, _ := strings.Cut(i.rest, " AS ")
			stage[name] = true
			last = map[string]string{"FROM": i.rest}
		case "COPY":
			checkCopy(t, stage, strings.Fields(i.rest))
		default:
			last[i.name] = i.rest
		}
	}
	if last["FROM"] != "scratch" || last["RUN"] != "" {
		t.Errorf("the image is built on %q and runs %q", last["FROM"], last["RUN"])
	}
	if user := last["USER"]; user != "65532:65532" {
		t.Errorf("the image runs as %q", user)
	}
	for _, name := range []string{"ENTRYPOINT", "CMD"} {
		var list []string
		if err := json.Unmarshal([]byte(last[name]), &list); err != nil || len(list) == 0 {
			t.Errorf("%s %s is no list, so that it would need a shell", name, last[name])
		}
	}
	buildAsIn(t, containerfile(t))
}

// checkCopy checks that what is copied from the context is there.
func checkCopy(t *testing.T, stage map[string]bool, words []string) {
	t.Helper()
	from := ""
	for ; len(words) > 0 && strings.HasPrefix(words[0], "--"); words = words[1:] {
		if name, ok := strings.CutPrefix(words[0], "--from="); ok {
			from = name
		}
	}
	if len(words) < 2 || from != "" && !stage[from] {
		t.Errorf("COPY %v from %q", words, from)
		return
	}
	if from != "" {
		return
	}
	for _, source := range words[:len(words)-1] {
		if _, err := os.Stat(path(source)); err != nil {
			t.Errorf("COPY of what is not there: %v", err)
		}
	}
}

// buildAsIn runs the build command and checks what comes of it.
func buildAsIn(t *testing.T, file []instruction) {
	t.Helper()
	i := slices.IndexFunc(file, func(i instruction) bool { return i.name == "RUN" && strings.Contains(i.rest, "go build") })
	if i < 0 {
		t.Fatal("nothing is built")
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(file[i].rest, "/out/", dir+"/"))
	build.Dir, build.Env = path(), append(os.Environ(), "RELEASE=v0.0.0-image")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary, err := elf.Open(filepath.Join(dir, "lifeboat"))
	must(t, err)
	defer func() { _ = binary.Close() }()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Error("the binary is not static")
		}
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "lifeboat"), "version").Output()
	must(t, err)
	if got := strings.TrimSpace(string(out)); got != "lifeboat v0.0.0-image" {
		t.Errorf("the binary says it is %q", got)
	}
}
