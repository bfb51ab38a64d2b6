/* The least that a binding for Python can cost: a thread makes tokens, an iterator in C gives them as str.
 *
 * stream(prompt, **options) wakes the thread, which sleeps between two runs; the prompt is
 * "<tokens> <microseconds between two>" and what else there may be, of the options there may be any. Nothing is checked, kept or ended
 * early. stamps holds when the tokens of the last run were made. One run at a time. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum { ROOM = 1 << 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER, arrived = PTHREAD_COND_INITIALIZER;
static long wanted, made, taken;
static long microseconds;
static int64_t stamps[ROOM];

static int64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void *produce(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (made == wanted) {
            pthread_cond_wait(&asked, &lock);
        }
        const long count = wanted;
        pthread_mutex_unlock(&lock);
        int64_t due = now();
        for (long at = 0; at < count; at++) {
            if (microseconds > 0 && at > 0) {
                due += microseconds * 1000;
                const struct timespec until = {due / 1000000000, due % 1000000000};
                while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
                }
            }
            stamps[at % ROOM] = now();
            pthread_mutex_lock(&lock);
            made++;
            pthread_mutex_unlock(&lock);
            pthread_cond_signal(&arrived);
        }
    }
    return NULL;
}

typedef struct {
    PyObject_HEAD
} Stream;

static PyObject *stream_next(PyObject *self)
{
    (void)self;
    pthread_mutex_lock(&lock);
    if (taken == wanted) {
        pthread_mutex_unlock(&lock);
        return NULL;
    }
    if (taken == made) {
        pthread_mutex_unlock(&lock);
        Py_BEGIN_ALLOW_THREADS
        pthread_mutex_lock(&lock);
        while (taken == made) {
            pthread_cond_wait(&arrived, &lock);
        }
        pthread_mutex_unlock(&lock);
        Py_END_ALLOW_THREADS
        pthread_mutex_lock(&lock);
    }
    taken++;
    pthread_mutex_unlock(&lock);
    return PyUnicode_FromStringAndSize(" token", 6);
}

static PyObject *texts(PyObject *self, PyObject *unused)
{
    (void)unused;
    Py_INCREF(self);
    return self;
}

static PyObject *result(PyObject *self, PyObject *unused)
{
    (void)unused;
    for (PyObject *text; (text = stream_next(self)) != NULL;) {
        Py_DECREF(text);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"texts", texts, METH_NOARGS, "The stream itself."},
    {"result", result, METH_NOARGS, "Reads to the end."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject StreamType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "binding.Stream",
    .tp_basicsize = sizeof(Stream),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = stream_next,
    .tp_methods = methods,
};

static PyObject *stream(PyObject *module, PyObject *args, PyObject *options)
{
    (void)module, (void)options;
    const char *prompt;
    long count, pause;
    if (!PyArg_ParseTuple(args, "s", &prompt)) {
        return NULL;
    }
    if (sscanf(prompt, "%ld %ld", &count, &pause) != 2 || count < 1 || count > ROOM) {
        return PyErr_Format(PyExc_ValueError, "no prompt of this binding: %s", prompt);
    }
    pthread_mutex_lock(&lock);
    wanted = count;
    made = taken = 0;
    microseconds = pause;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&asked);
    return (PyObject *)PyObject_New(Stream, &StreamType);
}

static PyMethodDef functions[] = {
    {"stream", (PyCFunction)(void (*)(void))stream, METH_VARARGS | METH_KEYWORDS, "Starts a run."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "binding", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_binding(void)
{
    pthread_t thread;
    if (PyType_Ready(&StreamType) < 0 || pthread_create(&thread, NULL, produce, NULL) != 0) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_OSError, "no thread");
    }
    PyObject *module = PyModule_Create(&definition);
    PyObject *view = PyMemoryView_FromMemory((char *)stamps, sizeof stamps, PyBUF_READ);
    if (module == NULL || view == NULL || PyModule_AddObject(module, "stamps", view) < 0) {
        return NULL;
    }
    return module;
}
