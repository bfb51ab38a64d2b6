/* The floor of `async for`: an eventfd design in C. A thread produces pieces of text into a buffer under a lock and
 * writes to an eventfd only where the reader waits; the reader takes all that is pending at once and gives items out
 * without the lock. An item that is there comes through am_send, without an exception; for one that is not, the event
 * loop watches the eventfd. Awaitables are objects of their own, with a free list of one. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LONGEST = 64 };

typedef struct {
    char *text;
    size_t used, room;
    uint32_t *lengths;
    size_t count, slots;
} Batch;

typedef struct {
    PyObject_HEAD
    /* The producer's side. */
    pthread_t thread;
    pthread_mutex_t lock;
    Batch pending;
    int ended, awaited;
    atomic_int stopped;
    long count;
    size_t length;
    char text[LONGEST];
    int descriptor;
    /* The reader's side. */
    Batch batch;
    size_t next, begin;
    PyObject *loop, *waiter;
} Stream;

typedef struct {
    PyObject_HEAD
    Stream *stream;
    /* The iterator of the future that is waited for. */
    PyObject *waiting;
} Next;

static PyTypeObject stream_type, next_type;
static PyObject *get_running_loop;
static Next *spare;

/* ---- the producer ---- */

static int append(Batch *batch, const char *text, size_t length)
{
    if (batch->room - batch->used < length) {
        size_t room = batch->room * 2 + 4096;
        char *larger = realloc(batch->text, room);
        if (larger == NULL) {
            return -1;
        }
        batch->text = larger, batch->room = room;
    }
    if (batch->count == batch->slots) {
        size_t slots = batch->slots * 2 + 1024;
        uint32_t *more = realloc(batch->lengths, slots * sizeof *more);
        if (more == NULL) {
            return -1;
        }
        batch->lengths = more, batch->slots = slots;
    }
    memcpy(batch->text + batch->used, text, length);
    batch->used += length;
    batch->lengths[batch->count++] = (uint32_t)length;
    return 0;
}

/* Unlocks, and wakes a reader that waits. */
static void give(Stream *self)
{
    int awaited = self->awaited;
    self->awaited = 0;
    pthread_mutex_unlock(&self->lock);
    if (awaited) {
        eventfd_write(self->descriptor, 1);
    }
}

static void *produce(void *argument)
{
    Stream *self = argument;
    for (long at = 0; at < self->count && !atomic_load_explicit(&self->stopped, memory_order_relaxed); at++) {
        pthread_mutex_lock(&self->lock);
        int failed = append(&self->pending, self->text, self->length);
        give(self);
        if (failed) {
            break;
        }
    }
    pthread_mutex_lock(&self->lock);
    self->ended = 1;
    give(self);
    return NULL;
}

/* ---- the reader ---- */

enum { ITEM, NOTHING, END };

/* Takes what has come; where nothing has, the next of it is signalled. */
static int refill(Stream *self)
{
    self->batch.used = self->batch.count = 0;
    self->next = self->begin = 0;
    int found = ITEM;
    pthread_mutex_lock(&self->lock);
    if (self->pending.count > 0) {
        Batch taken = self->pending;
        self->pending = self->batch;
        self->batch = taken;
    } else if (self->ended) {
        found = END;
    } else {
        self->awaited = 1;
        found = NOTHING;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

static int take(Stream *self, PyObject **item)
{
    if (self->next == self->batch.count) {
        int found = refill(self);
        if (found != ITEM) {
            return found;
        }
    }
    size_t length = self->batch.lengths[self->next++];
    *item = PyUnicode_FromStringAndSize(self->batch.text + self->begin, (Py_ssize_t)length);
    self->begin += length;
    return ITEM;
}

/* Called by the loop: the eventfd can be read. */
static PyObject *stream_ready(Stream *self, PyObject *nothing)
{
    (void)nothing;
    eventfd_t number;
    eventfd_read(self->descriptor, &number);
    PyObject *waiter = self->waiter;
    self->waiter = NULL;
    if (waiter == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *done = PyObject_CallMethod(waiter, "done", NULL), *set = NULL;
    if (done != NULL && done == Py_False) {
        set = PyObject_CallMethod(waiter, "set_result", "O", Py_None);
    } else if (done != NULL) {
        set = Py_NewRef(Py_None);
    }
    Py_XDECREF(done);
    Py_DECREF(waiter);
    return set;
}

/* Has the running loop watch the eventfd, and gives the iterator of a future to wait for. */
static PyObject *watch(Stream *self)
{
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    if (loop == NULL) {
        return NULL;
    }
    if (loop != self->loop) {
        PyObject *ready = PyObject_GetAttrString((PyObject *)self, "_ready");
        PyObject *added = ready == NULL ? NULL
            : PyObject_CallMethod(loop, "add_reader", "iO", self->descriptor, ready);
        Py_XDECREF(ready);
        if (added == NULL) {
            Py_DECREF(loop);
            return NULL;
        }
        Py_DECREF(added);
        Py_XSETREF(self->loop, Py_NewRef(loop));
    }
    PyObject *future = PyObject_CallMethod(loop, "create_future", NULL);
    Py_DECREF(loop);
    if (future == NULL) {
        return NULL;
    }
    Py_XSETREF(self->waiter, future);
    return Py_TYPE(future)->tp_as_async->am_await(future);
}

static PySendResult end(Stream *self)
{
    if (self->loop != NULL) {
        PyObject *removed = PyObject_CallMethod(self->loop, "remove_reader", "i", self->descriptor);
        Py_CLEAR(self->loop);
        if (removed == NULL) {
            return PYGEN_ERROR;
        }
        Py_DECREF(removed);
    }
    PyErr_SetNone(PyExc_StopAsyncIteration);
    return PYGEN_ERROR;
}

static PySendResult next_send(Next *self, PyObject *value, PyObject **result)
{
    for (;;) {
        if (self->waiting == NULL) {
            int found = take(self->stream, result);
            if (found == ITEM) {
                return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
            }
            *result = NULL;
            if (found == END) {
                return end(self->stream);
            }
            self->waiting = watch(self->stream);
            if (self->waiting == NULL) {
                return PYGEN_ERROR;
            }
        }
        PySendResult sent = PyIter_Send(self->waiting, value, result);
        if (sent != PYGEN_RETURN) {
            return sent;
        }
        Py_CLEAR(*result);
        Py_CLEAR(self->waiting);
        value = Py_None;
    }
}

static PyObject *next_iternext(Next *self)
{
    PyObject *result;
    PySendResult sent = next_send(self, Py_None, &result);
    if (sent == PYGEN_RETURN) {
        PyErr_SetObject(PyExc_StopIteration, result);
        Py_CLEAR(result);
    }
    return result;
}

static void next_dealloc(Next *self)
{
    Py_CLEAR(self->stream);
    Py_CLEAR(self->waiting);
    if (spare == NULL) {
        spare = self;
    } else {
        PyObject_Free(self);
    }
}

static PyObject *stream_anext(Stream *self)
{
    Next *next = spare;
    if (next != NULL) {
        spare = NULL;
        PyObject_Init((PyObject *)next, &next_type);
    } else {
        next = PyObject_New(Next, &next_type);
        if (next == NULL) {
            return NULL;
        }
    }
    next->stream = (Stream *)Py_NewRef((PyObject *)self);
    next->waiting = NULL;
    return (PyObject *)next;
}

static void stream_dealloc(Stream *self)
{
    atomic_store(&self->stopped, 1);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(self->thread, NULL);
    Py_END_ALLOW_THREADS
    pthread_mutex_destroy(&self->lock);
    close(self->descriptor);
    free(self->pending.text), free(self->pending.lengths);
    free(self->batch.text), free(self->batch.lengths);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->waiter);
    PyObject_Free(self);
}

static PyAsyncMethods stream_async = {
    .am_aiter = PyObject_SelfIter,
    .am_anext = (unaryfunc)stream_anext,
};

static PyMethodDef stream_methods[] = {
    {"_ready", (PyCFunction)stream_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject stream_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "async_floor.Stream",
    .tp_basicsize = sizeof(Stream),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &stream_async,
    .tp_methods = stream_methods,
    .tp_dealloc = (destructor)stream_dealloc,
};

static PyAsyncMethods next_async = {
    .am_await = PyObject_SelfIter,
    .am_send = (sendfunc)next_send,
};

static PyTypeObject next_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "async_floor.Next",
    .tp_basicsize = sizeof(Next),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &next_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)next_iternext,
    .tp_dealloc = (destructor)next_dealloc,
};

static PyObject *strings(PyObject *module, PyObject *args)
{
    (void)module;
    const char *text;
    Py_ssize_t count, length;
    if (!PyArg_ParseTuple(args, "ns#", &count, &text, &length)) {
        return NULL;
    }
    Stream *self = PyObject_New(Stream, &stream_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    self->length = (size_t)length < LONGEST ? (size_t)length : LONGEST;
    memcpy(self->text, text, self->length);
    self->count = count;
    self->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&self->lock, NULL);
    if (self->descriptor < 0 || pthread_create(&self->thread, NULL, produce, self) != 0) {
        /* There is no thread to join: left as it is, once, in a program that ends with this. */
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static PyMethodDef methods[] = {
    {"strings", strings, METH_VARARGS, "strings(count, text): as many str of that text, from a thread."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "async_floor", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit_async_floor(void)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL) {
        return NULL;
    }
    get_running_loop = PyObject_GetAttrString(asyncio, "get_running_loop");
    Py_DECREF(asyncio);
    if (get_running_loop == NULL || PyType_Ready(&stream_type) < 0 || PyType_Ready(&next_type) < 0) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
