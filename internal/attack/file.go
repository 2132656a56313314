package attack

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const fileSystem = "reach the file system"

// files has acts on the file system, by name and by descriptor. Unconfined, the process has its own
// /tmp, its working directory.
var files = []Act{
	dies(fileSystem, "openat", Done, sys(unix.SYS_OPENAT, cwd, text("/etc/passwd"), unix.O_RDONLY)),
	dies(fileSystem, "openat to create", Done, sys(unix.SYS_OPENAT, cwd, text("/tmp/new"), unix.O_CREAT|unix.O_WRONLY, 0o600)),
	dies(fileSystem, "openat a path only", Done, sys(unix.SYS_OPENAT, cwd, text("/"), unix.O_PATH)),
	dies(fileSystem, "openat2", Done, sys(unix.SYS_OPENAT2, cwd, text("/etc/passwd"), keep([3]uint64{}), 24)),
	dies(fileSystem, "open /proc/self/mem", Done, sys(unix.SYS_OPENAT, cwd, text("/proc/self/mem"), unix.O_RDWR)),
	dies(fileSystem, "open /proc/self/fd", Done, sys(unix.SYS_OPENAT, cwd, text("/proc/self/fd"), unix.O_RDONLY)),
	dies(fileSystem, "faccessat", Done, sys(unix.SYS_FACCESSAT, cwd, text("/"), 0)),
	dies(fileSystem, "fstat", Done, func(Target) syscall.Errno { return raw(unix.SYS_FSTAT, 0, keep(unix.Stat_t{})) }),
	dies(fileSystem, "statx", Done, sys(unix.SYS_STATX, cwd, text("/"), 0, 0, keep(unix.Statx_t{}))),
	dies(fileSystem, "statfs", Done, sys(unix.SYS_STATFS, text("/"), keep(unix.Statfs_t{}))),
	dies(fileSystem, "readlinkat", Done, sys(unix.SYS_READLINKAT, cwd, text("/proc/self/exe"), wordAddress(), 64)),
	dies(fileSystem, "getdents64", "ENOTDIR", sys(unix.SYS_GETDENTS64, 0, wordAddress(), 64)),
	dies(fileSystem, "getcwd", Done, sys(unix.SYS_GETCWD, wordAddress(), 64)),
	dies(fileSystem, "mkdirat", Done, sys(unix.SYS_MKDIRAT, cwd, text("/tmp/dir"), 0o700)),
	dies(fileSystem, "unlinkat", "ENOENT", sys(unix.SYS_UNLINKAT, cwd, text("/tmp/none"), 0)),
	dies(fileSystem, "renameat2", "ENOENT", sys(unix.SYS_RENAMEAT2, cwd, text("/tmp/none"), cwd, text("/tmp/some"), 0)),
	dies(fileSystem, "linkat", "ENOENT", sys(unix.SYS_LINKAT, cwd, text("/tmp/none"), cwd, text("/tmp/some"), 0)),
	dies(fileSystem, "symlinkat", Done, sys(unix.SYS_SYMLINKAT, text("/"), cwd, text("/tmp/link"))),
	dies(fileSystem, "mknodat a pipe", Done, sys(unix.SYS_MKNODAT, cwd, text("/tmp/fifo"), unix.S_IFIFO|0o600, 0)),
	dies(fileSystem, "mknodat a device", DoneByRoot, sys(unix.SYS_MKNODAT, cwd, text("/tmp/null"), unix.S_IFCHR|0o600, 1<<8|3)),
	dies(fileSystem, "fchmodat", Done, sys(unix.SYS_FCHMODAT, cwd, text("/tmp"), 0o777)),
	dies(fileSystem, "fchownat", Done, sys(unix.SYS_FCHOWNAT, cwd, text("/tmp"), 0, 0, 0)),
	dies(fileSystem, "utimensat", Done, sys(unix.SYS_UTIMENSAT, cwd, text("/tmp"), 0, 0)),
	dies(fileSystem, "setxattr", Whatever, sys(unix.SYS_SETXATTR, text("/tmp"), text("user.x"), text("x"), 1, 0)),
	dies(fileSystem, "truncate", "ENOENT", sys(unix.SYS_TRUNCATE, text("/tmp/none"), 0)),
	dies(fileSystem, "ftruncate", Done, func(t Target) syscall.Errno { return raw(unix.SYS_FTRUNCATE, uintptr(t.File), 0) }),
	dies(fileSystem, "fallocate", Done, func(t Target) syscall.Errno { return raw(unix.SYS_FALLOCATE, uintptr(t.File), 0, 0, 1) }),
	dies(fileSystem, "lseek", Done, func(t Target) syscall.Errno { return raw(unix.SYS_LSEEK, uintptr(t.File), 0, 0) }),
	dies(fileSystem, "flock", Done, func(t Target) syscall.Errno { return raw(unix.SYS_FLOCK, uintptr(t.File), unix.LOCK_EX) }),
	dies(fileSystem, "fsync", Done, func(t Target) syscall.Errno { return raw(unix.SYS_FSYNC, uintptr(t.File)) }),
	dies(fileSystem, "umask", Done, sys(unix.SYS_UMASK, 0)),
	dies(fileSystem, "chdir", Done, sys(unix.SYS_CHDIR, text("/"))),
	dies(fileSystem, "fchdir", "ENOTDIR", sys(unix.SYS_FCHDIR, 0)),
	dies(fileSystem, "chroot", Done, sys(unix.SYS_CHROOT, text("/tmp"))),
	dies(fileSystem, "pivot_root", Whatever, sys(unix.SYS_PIVOT_ROOT, text("."), text("."))),
	dies(fileSystem, "mount", Done, sys(unix.SYS_MOUNT, text("none"), text("/tmp"), text("tmpfs"), 0, 0)),
	dies(fileSystem, "umount2", Done, sys(unix.SYS_UMOUNT2, text("/tmp"), unix.MNT_DETACH)),
	dies(fileSystem, "fsopen", Done, sys(unix.SYS_FSOPEN, text("tmpfs"), 0)),
	dies(fileSystem, "fsconfig", Whatever, sys(unix.SYS_FSCONFIG, none, 0, 0, 0, 0)),
	dies(fileSystem, "fsmount", "EBADF", sys(unix.SYS_FSMOUNT, none, 0, 0)),
	dies(fileSystem, "fspick", Done, sys(unix.SYS_FSPICK, cwd, text("/tmp"), 0)),
	dies(fileSystem, "open_tree", Done, sys(unix.SYS_OPEN_TREE, cwd, text("/tmp"), unix.OPEN_TREE_CLONE)),
	dies(fileSystem, "move_mount", "ENOENT", sys(unix.SYS_MOVE_MOUNT, cwd, text("/tmp/none"), cwd, text("/tmp/none"), 0)),
	dies(fileSystem, "mount_setattr", Done, sys(unix.SYS_MOUNT_SETATTR, cwd, text("/tmp"), 0, keep(unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}), 32)),
	dies(fileSystem, "swapon", Whatever, sys(unix.SYS_SWAPON, text("/tmp/none"), 0)),
	dies(fileSystem, "name_to_handle_at", Whatever, sys(unix.SYS_NAME_TO_HANDLE_AT, cwd, text("/tmp"), keep([34]uint32{128}), keep(int32(0)), 0)),
	dies(fileSystem, "open_by_handle_at", Whatever, sys(unix.SYS_OPEN_BY_HANDLE_AT, cwd, keep([34]uint32{}), 0)),
	dies(fileSystem, "fanotify_init", DoneByRoot, sys(unix.SYS_FANOTIFY_INIT, 0, 0)),
	dies(fileSystem, "inotify_init1", Done, sys(unix.SYS_INOTIFY_INIT1, 0)),
	dies(fileSystem, "inotify_add_watch", "EINVAL", sys(unix.SYS_INOTIFY_ADD_WATCH, 0, text("/"), unix.IN_OPEN)),
	dies(fileSystem, "memfd_create", Done, sys(unix.SYS_MEMFD_CREATE, text("x"), 0)),
	dies(fileSystem, "memfd_secret", Whatever, sys(unix.SYS_MEMFD_SECRET, 0)),
	dies(fileSystem, "pipe2", Done, func(Target) syscall.Errno { return raw(unix.SYS_PIPE2, keep([2]int32{}), 0) }),
	dies(fileSystem, "eventfd2", Done, sys(unix.SYS_EVENTFD2, 0, 0)),
	dies(fileSystem, "epoll_create1", Done, sys(unix.SYS_EPOLL_CREATE1, 0)),
	dies(fileSystem, "fcntl F_SETFL", Done, sys(unix.SYS_FCNTL, 0, unix.F_SETFL, unix.O_NONBLOCK)),
	dies(fileSystem, "fcntl F_SETOWN", Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_FCNTL, uintptr(t.Control), unix.F_SETOWN, uintptr(t.Peer))
	}),
	dies(fileSystem, "ioctl TIOCSTI", "ENOTTY", sys(unix.SYS_IOCTL, 0, unix.TIOCSTI, wordAddress())),
	dies(fileSystem, "close_range", Done, sys(unix.SYS_CLOSE_RANGE, 100, 200, 0)),
	// The monitor closes its descriptors at the end.
	{fileSystem, "close", Killed, NotTried, Done, sys(unix.SYS_CLOSE, 0)},
	{fileSystem, "epoll_ctl", Killed, NotTried, Whatever, sys(unix.SYS_EPOLL_CTL, 0, unix.EPOLL_CTL_DEL, 0, 0)},
	{fileSystem, "shutdown", Killed, NotTried, Done, func(t Target) syscall.Errno {
		return raw(unix.SYS_SHUTDOWN, uintptr(t.Control), unix.SHUT_RD)
	}},
}
