package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

func (a *app) serverCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "server --config FILE", Short: "Run one process of a region", Args: args(),
		Long: `Run one process of a region, in the roles that its configuration names, until it
is told to stop.

SIGINT and SIGTERM stop it in order: requests in progress may end, for at most
ten seconds. SIGHUP opens the audit files again, after they have been renamed.
Certificates are read again by themselves when their files change.`,
		Example: `  lifeboat config reference > /etc/lifeboat/config.yaml
  lifeboat config check /etc/lifeboat/config.yaml
  lifeboat server --config /etc/lifeboat/config.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return a.runServer(c.Context(), file) },
	}
	c.Flags().StringVar(&file, "config", "", "configuration of the process")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	return c
}

func (a *app) runServer(ctx context.Context, file string) error {
	if file == "" {
		return usagef("--config is missing")
	}
	configuration, err := config.Load(file, a.LookupEnv)
	if err != nil {
		return withHint(err, "\"lifeboat config reference\" shows every field")
	}
	letGarbageGather(leastGarbage(configuration))
	spareProcessor(configuration, a.LookupEnv)
	logger := newLogger(a.Stderr, configuration.Log)
	process, err := region.Start(ctx, region.Options{Config: configuration, Release: a.Release, Logger: logger})
	if err != nil {
		return err
	}
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	defer signal.Stop(hangUps)
	for {
		select {
		case <-ctx.Done():
			logger.Info("stopping")
			return process.Close()
		case <-hangUps:
			if err := process.Reopen(); err != nil {
				logger.Error("audit files cannot be opened again", "error", err)
			} else {
				logger.Info("audit files opened again")
			}
		case err := <-process.Fatal():
			if closeErr := process.Close(); closeErr != nil {
				logger.Error("process did not close cleanly", "error", closeErr)
			}
			return fmt.Errorf("the process cannot go on: %w", err)
		}
	}
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil { // Validate allows only levels
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Describe and check configurations of processes",
		Example: "  lifeboat config reference\n  lifeboat config check FILE",
	}
	c.AddCommand(&cobra.Command{
		Use: "reference", Short: "Print every field, its default and what it means", Args: args(),
		Example: "  lifeboat config reference > config.yaml",
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.Stdout, config.Reference)
			return err
		},
	}, &cobra.Command{
		Use: "check FILE", Short: "Check a configuration", Args: args("FILE"),
		Example: "  lifeboat config check /etc/lifeboat/config.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			checked, err := config.Load(args[0], a.LookupEnv)
			if err != nil {
				return withHint(err, "\"lifeboat config reference\" shows every field")
			}
			if a.flags.output == outputJSON {
				return writeJSON(a.Stdout, map[string]any{"valid": true, "region": checked.Region.Name, "process": checked.Process.ID, "roles": checked.Process.Roles})
			}
			fmt.Fprintf(a.Stdout, "valid: process %s of region %s, roles %v\n", checked.Process.ID, checked.Region.Name, checked.Process.Roles)
			return nil
		},
	})
	return c
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(), Example: "  lifeboat version -o json",
		RunE: func(*cobra.Command, []string) error {
			if a.flags.output == outputJSON {
				return writeJSON(a.Stdout, map[string]string{"release": a.Release})
			}
			_, err := fmt.Fprintln(a.Stdout, "lifeboat "+a.Release)
			return err
		},
	}
}
