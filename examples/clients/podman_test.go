package clients

import (
	"context"
	"testing"
)

// TestPodman runs podman.
func TestPodman(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *content) client {
		podman := newTool(t, "podman", ownStorage(t)...)
		// upload pushes an image from the layout, and finds out what the registry then has.
		upload := func(from string, i *image, repository string) func(context.Context) error {
			return func(ctx context.Context) error {
				id, err := podman.output(ctx, "pull", "--quiet", "oci:"+c.dir+":"+from)
				if err != nil {
					return err
				}
				if err := podman.run(ctx, "push", "--tls-verify=false", "--format=oci", id, "docker://"+s.host+"/"+repository+":v1"); err != nil {
					return err
				}
				*i = s.read(repository, "v1")
				return nil
			}
		}
		download := func(repository string) func(context.Context) error {
			return inTurn(
				podman.does("rmi", "--all", "--force"),
				podman.does("pull", "--arch=amd64", "--tls-verify=false", s.host+"/"+repository+":v1"),
			)
		}
		return unpacked(s, c, map[string]func(context.Context) error{
			push:      upload("app", &c.app, appRepository),
			pushAgain: upload("app", &c.app, appRepository),
			pull:      download(appRepository),
			look:      podman.does("create", "--pull=newer", "--tls-verify=false", s.host+"/"+appRepository+":v1", "a-command"),
			mount:     podman.does("push", "--tls-verify=false", "--format=oci", s.host+"/"+appRepository+":v1", "docker://"+s.host+"/"+copyRepository+":v1"),
			index: func(ctx context.Context) error {
				if err := podman.run(ctx, "manifest", "create", "multi"); err != nil {
					return err
				}
				for _, arch := range []string{"amd64", "arm64"} {
					id, err := podman.output(ctx, "pull", "--quiet", "--arch="+arch, "oci:"+c.dir+":multi")
					if err != nil {
						return err
					}
					if err := podman.run(ctx, "manifest", "add", "multi", "containers-storage:"+id); err != nil {
						return err
					}
				}
				err := podman.run(ctx, "manifest", "push", "--all", "--tls-verify=false", "--format=oci", "multi", "docker://"+s.host+"/"+multiRepository+":v1")
				if err == nil {
					c.multi = s.readIndex(multiRepository, "v1")
				}
				return err
			},
			pullIndex:      download(multiRepository),
			chunked:        upload("big", &c.big, bigRepository),
			brokenUpload:   again(upload("broken", &c.broken, brokenRepository)),
			brokenDownload: again(download(brokenRepository)),
		})
	})
}
