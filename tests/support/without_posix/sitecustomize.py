# ruff: noqa: PTH100, PTH115, PTH123, PTH208
"""Makes a Python look as one of Windows does to this package: this folder stands in PYTHONPATH.

What the package imports lacks the modules and the names that Windows has not (Python,
"Availability: Unix" of each), files that are open for writing are neither renamed nor deleted,
event loops take no signals, and to open a text file without an encoding is an error. The standard
library and other packages, which know what they run on, see the system as it is.
"""

import asyncio
import builtins
import os
import sys
import types
import warnings

PACKAGE = "orthanc_gcp"
MODULES = """
    _posixsubprocess crypt curses fcntl grp nis posix pty pwd readline resource spwd syslog
    termios tty
"""
NAMES = {
    "os": """
        O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW
        O_NONBLOCK O_PATH O_RSYNC O_SYNC O_TMPFILE WEXITSTATUS WIFEXITED WIFSIGNALED WNOHANG
        WTERMSIG chflags chown chroot confstr copy_file_range ctermid eventfd fchdir fchmod
        fchown fdatasync fork forkpty fpathconf fstatvfs get_blocking getegid geteuid getgid
        getgrouplist getgroups getloadavg getpgid getpgrp getpriority getrandom getresgid
        getresuid getsid getuid getxattr initgroups killpg lchown listxattr lockf major makedev
        memfd_create minor mkfifo mknod nice openpty pathconf pipe2 posix_fadvise
        posix_fallocate posix_openpt posix_spawn posix_spawnp pread preadv pwrite pwritev readv
        register_at_fork removexattr sched_getaffinity sched_setaffinity sched_yield sendfile
        set_blocking setegid seteuid setgid setgroups setns setpgid setpgrp setpriority setregid
        setresgid setresuid setreuid setsid setuid setxattr splice statvfs sync sysconf
        tcgetpgrp tcsetpgrp ttyname uname unshare wait wait3 wait4 waitid writev
    """,
    "signal": """
        SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGPWR SIGQUIT
        SIGSTOP SIGSYS SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH
        SIGXCPU SIGXFSZ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK alarm getitimer pause pthread_kill
        pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait sigwaitinfo
    """,
    "socket": """
        AF_NETLINK AF_PACKET AF_UNIX CMSG_LEN CMSG_SPACE MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS
        SO_PEERCRED SO_REUSEPORT TCP_CORK TCP_QUICKACK TCP_USER_TIMEOUT recv_fds send_fds
        sethostname
    """,
    "select": """
        devpoll epoll kqueue poll
    """,
    "time": """
        CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_gettime_ns
        pthread_getcpuclockid tzset
    """,
    "asyncio": """
        open_unix_connection start_unix_server
    """,
    "ctypes": """
        RTLD_GLOBAL
    """,
}


class Lacking(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, module, names):
        super().__init__(module.__name__, module.__doc__)
        self.__dict__["_seen"] = module, set(names.split())

    def __getattr__(self, name):
        module, names = self._seen
        if name in names:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(module, name)

    def __setattr__(self, name, value):
        setattr(self._seen[0], name, value)


seen = {name: Lacking(__import__(name), names) for name, names in NAMES.items()}
real_import = builtins.__import__


def is_ours(name):
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def imported(name, globals=None, locals=None, fromlist=(), level=0):  # noqa: A002
    module = real_import(name, globals, locals, fromlist, level)
    if globals and is_ours(str(globals.get("__name__"))):
        first = name.partition(".")[0]
        if first in MODULES.split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in seen or (first in seen and not fromlist):
            return seen[first]
    return module


def is_written(path):
    """Whether this process has a file open to write to it."""
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == path:
                with open(f"/proc/self/fdinfo/{number}", encoding="ascii") as info:
                    flags = next(line for line in info if line.startswith("flags:")).split()[1]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
        except OSError:
            continue
    return False


def caller():
    """Which module asks for something of the system."""
    frame = sys._getframe(2)
    while frame and frame.f_globals.get("__name__") in {__name__, "pathlib", "os", "shutil"}:
        frame = frame.f_back
    return frame.f_globals.get("__name__", "") if frame else ""


def watch(event, arguments):
    if event in ("os.rename", "os.remove") and is_ours(caller()):
        for path in arguments[: 2 if event == "os.rename" else 1]:
            if isinstance(path, str | os.PathLike) and is_written(os.path.abspath(path)):
                raise PermissionError(13, "[WinError 32] another process uses this file", str(path))


def no_signals(*_arguments, **_options):
    raise NotImplementedError


builtins.__import__ = imported
asyncio.BaseEventLoop.add_signal_handler = no_signals
asyncio.SelectorEventLoop.add_signal_handler = no_signals
sys.addaudithook(watch)
warnings.filterwarnings("error", category=EncodingWarning, module=rf"{PACKAGE}\b")
if log := os.environ.get("WITHOUT_POSIX_LOG"):
    with open(log, "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
