/* holdfast._native.kernel: timerfd_create(2), timerfd_settime(2) and inotify(7) for Python.
 *
 * Thin on purpose: each function is one system call, takes and returns plain integers, and raises
 * OSError with the kernel's errno. Who owns a descriptor, and what a deadline means, is decided in
 * Python. CPython has timerfd from 3.13 on only, and inotify not at all.
 *
 * The module has no state, so that multi-phase initialisation needs neither m_size nor a traverse
 * function, and each sub-interpreter may have its own copy.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <time.h>

#define NS_PER_S 1000000000LL

/* For PyArg_ParseTuple "O&". The format unit "I" would drop the high bits of a mask in silence. */
static int
as_uint32(PyObject *object, void *address)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(object);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) {
        return 0;
    }
    if (number > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a mask has 32 bits");
        return 0;
    }
    *(uint32_t *)address = (uint32_t)number;
    return 1;
}

static struct timespec
timespec_of(long long ns)
{
    /* A negative time becomes a negative tv_nsec, which the kernel answers with EINVAL. */
    struct timespec spec = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    return spec;
}

PyDoc_STRVAR(timerfd_create_doc,
"timerfd_create(clock, flags, /)\n--\n\n"
"A new timer descriptor. See timerfd_create(2).");

static PyObject *
kernel_timerfd_create(PyObject *Py_UNUSED(module), PyObject *args)
{
    int clock, flags;
    if (!PyArg_ParseTuple(args, "ii:timerfd_create", &clock, &flags)) {
        return NULL;
    }
    int fd = timerfd_create(clock, flags);
    if (fd < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(fd);
}

PyDoc_STRVAR(timerfd_settime_doc,
"timerfd_settime(fd, flags, value_ns, interval_ns=0, /)\n--\n\n"
"Arm the timer at or after `value_ns` nanoseconds, then every `interval_ns`.\n\n"
"A value of 0 disarms it, whatever the flags. See timerfd_settime(2).");

static PyObject *
kernel_timerfd_settime(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, flags;
    long long value_ns, interval_ns = 0;
    if (!PyArg_ParseTuple(args, "iiL|L:timerfd_settime", &fd, &flags, &value_ns, &interval_ns)) {
        return NULL;
    }
    struct itimerspec setting = {
        .it_value = timespec_of(value_ns),
        .it_interval = timespec_of(interval_ns),
    };
    if (timerfd_settime(fd, flags, &setting, NULL) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(inotify_init1_doc,
"inotify_init1(flags, /)\n--\n\n"
"A new inotify descriptor. See inotify_init1(2).");

static PyObject *
kernel_inotify_init1(PyObject *Py_UNUSED(module), PyObject *args)
{
    int flags;
    if (!PyArg_ParseTuple(args, "i:inotify_init1", &flags)) {
        return NULL;
    }
    int fd = inotify_init1(flags);
    if (fd < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(fd);
}

PyDoc_STRVAR(inotify_add_watch_doc,
"inotify_add_watch(fd, path, mask, /)\n--\n\n"
"Watch `path` (str, bytes or path-like); the watch descriptor. See inotify_add_watch(2).");

static PyObject *
kernel_inotify_add_watch(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, wd;
    uint32_t mask;
    PyObject *path = NULL; /* bytes, made and owned by the converter's result */
    if (!PyArg_ParseTuple(args, "iO&O&:inotify_add_watch", &fd, PyUnicode_FSConverter, &path,
                          as_uint32, &mask)) {
        /* With a bad mask the path is released by the converter's own clean-up call. */
        return NULL;
    }
    const char *name = PyBytes_AsString(path);
    if (name == NULL) {
        Py_DECREF(path);
        return NULL;
    }
    /* A path is looked up on a file system that may be slow or gone: let other threads run. The
     * bytes object is ours until the DECREF, so `name` stays valid without the GIL. */
    Py_BEGIN_ALLOW_THREADS
    wd = inotify_add_watch(fd, name, mask);
    Py_END_ALLOW_THREADS
    if (wd < 0) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
        Py_DECREF(path);
        return NULL;
    }
    Py_DECREF(path);
    return PyLong_FromLong(wd);
}

PyDoc_STRVAR(inotify_rm_watch_doc,
"inotify_rm_watch(fd, wd, /)\n--\n\n"
"Remove one watch; an IN_IGNORED event follows. See inotify_rm_watch(2).");

static PyObject *
kernel_inotify_rm_watch(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, wd;
    if (!PyArg_ParseTuple(args, "ii:inotify_rm_watch", &fd, &wd)) {
        return NULL;
    }
    if (inotify_rm_watch(fd, wd) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyMethodDef kernel_methods[] = {
    {"timerfd_create", kernel_timerfd_create, METH_VARARGS, timerfd_create_doc},
    {"timerfd_settime", kernel_timerfd_settime, METH_VARARGS, timerfd_settime_doc},
    {"inotify_init1", kernel_inotify_init1, METH_VARARGS, inotify_init1_doc},
    {"inotify_add_watch", kernel_inotify_add_watch, METH_VARARGS, inotify_add_watch_doc},
    {"inotify_rm_watch", kernel_inotify_rm_watch, METH_VARARGS, inotify_rm_watch_doc},
    {NULL, NULL, 0, NULL},
};

/* `long` has 32 bits on some machines, where IN_ONESHOT (1 << 31) would come out negative. */
static const struct {
    const char *name;
    unsigned long long number;
} kernel_constants[] = {
    {"CLOCK_REALTIME", CLOCK_REALTIME},
    {"CLOCK_MONOTONIC", CLOCK_MONOTONIC},
    {"CLOCK_BOOTTIME", CLOCK_BOOTTIME},
    {"CLOCK_REALTIME_ALARM", CLOCK_REALTIME_ALARM},
    {"CLOCK_BOOTTIME_ALARM", CLOCK_BOOTTIME_ALARM},
    {"TFD_CLOEXEC", TFD_CLOEXEC},
    {"TFD_NONBLOCK", TFD_NONBLOCK},
    {"TFD_TIMER_ABSTIME", TFD_TIMER_ABSTIME},
    {"TFD_TIMER_CANCEL_ON_SET", TFD_TIMER_CANCEL_ON_SET},
    {"IN_CLOEXEC", IN_CLOEXEC},
    {"IN_NONBLOCK", IN_NONBLOCK},
    {"IN_ACCESS", IN_ACCESS},
    {"IN_ATTRIB", IN_ATTRIB},
    {"IN_CLOSE_NOWRITE", IN_CLOSE_NOWRITE},
    {"IN_CLOSE_WRITE", IN_CLOSE_WRITE},
    {"IN_CREATE", IN_CREATE},
    {"IN_DELETE", IN_DELETE},
    {"IN_DELETE_SELF", IN_DELETE_SELF},
    {"IN_DONT_FOLLOW", IN_DONT_FOLLOW},
    {"IN_EXCL_UNLINK", IN_EXCL_UNLINK},
    {"IN_IGNORED", IN_IGNORED},
    {"IN_ISDIR", IN_ISDIR},
    {"IN_MASK_ADD", IN_MASK_ADD},
    {"IN_MODIFY", IN_MODIFY},
    {"IN_MOVED_FROM", IN_MOVED_FROM},
    {"IN_MOVED_TO", IN_MOVED_TO},
    {"IN_MOVE_SELF", IN_MOVE_SELF},
    {"IN_ONESHOT", (uint32_t)IN_ONESHOT},
    {"IN_ONLYDIR", IN_ONLYDIR},
    {"IN_OPEN", IN_OPEN},
    {"IN_Q_OVERFLOW", IN_Q_OVERFLOW},
    {"IN_UNMOUNT", IN_UNMOUNT},
};

static int
kernel_exec(PyObject *module)
{
    for (size_t i = 0; i < sizeof kernel_constants / sizeof kernel_constants[0]; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(kernel_constants[i].number);
        if (number == NULL) {
            return -1;
        }
        int failed = PyModule_AddObjectRef(module, kernel_constants[i].name, number);
        Py_DECREF(number);
        if (failed) {
            return -1;
        }
    }
    return 0;
}

static PyModuleDef_Slot kernel_slots[] = {
    {Py_mod_exec, (void *)kernel_exec},
    {0, NULL},
};

static struct PyModuleDef kernel_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._native.kernel",
    .m_doc = "timerfd and inotify, one function per system call.",
    .m_size = 0,
    .m_methods = kernel_methods,
    .m_slots = kernel_slots,
};

PyMODINIT_FUNC
PyInit_kernel(void)
{
    return PyModuleDef_Init(&kernel_module);
}
