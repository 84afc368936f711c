package clients

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestBuildah runs buildah on images that it has built from nothing.
func TestBuildah(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *content) client {
		buildah := newTool(t, "buildah", ownStorage(t)...)
		buildah.env = append(buildah.env, "BUILDAH_ISOLATION=chroot")
		// build returns what builds an image of one layer.
		build := func(name, content string) func(context.Context) error {
			return func(ctx context.Context) error {
				file := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					return err
				}
				container, err := buildah.output(ctx, "from", "scratch")
				if err != nil {
					return err
				}
				if err := buildah.run(ctx, "copy", container, file, "/"+name); err != nil {
					return err
				}
				return buildah.run(ctx, "commit", "--rm", container, name)
			}
		}
		// upload pushes an image, and finds out what the registry then has.
		upload := func(name, repository string, i *image) func(context.Context) error {
			return func(ctx context.Context) error {
				if err := buildah.run(ctx, "push", "--tls-verify=false", "--format=oci", name, "docker://"+s.host+"/"+repository+":v1"); err != nil {
					return err
				}
				*i = s.read(repository, "v1")
				return nil
			}
		}
		download := func(repository string) func(context.Context) error {
			return inTurn(
				buildah.does("rmi", "--all", "--force"),
				buildah.does("pull", "--tls-verify=false", s.host+"/"+repository+":v1"),
			)
		}
		cl := unpacked(s, c, map[string]func(context.Context) error{
			push:           inTurn(build("app", "an application"), upload("app", appRepository, &c.app)),
			pushAgain:      upload("app", appRepository, &c.app),
			pull:           download(appRepository),
			look:           buildah.does("pull", "--policy=ifnewer", "--tls-verify=false", s.host+"/"+appRepository+":v1"),
			mount:          buildah.does("push", "--tls-verify=false", "--format=oci", s.host+"/"+appRepository+":v1", "docker://"+s.host+"/"+copyRepository+":v1"),
			chunked:        inTurn(build("big", noise("big")), upload("big", bigRepository, &c.big)),
			brokenUpload:   inTurn(build("broken", noise("broken")), again(upload("broken", brokenRepository, &c.broken))),
			brokenDownload: again(download(brokenRepository)),
		})
		cl.cannot[index] = "it does as podman does"
		cl.cannot[pullIndex] = "it does as podman does"
		return cl
	})
}
