//go:build !linux

package journal

// Allocate makes the file as large; whether the disk sets the room aside is its own.
func (f diskFile) Allocate(size int64) error { return f.Truncate(size) }
