/* The floors of a text stream: iterators, ordinary and asynchronous, that make a fresh str each time and do
 * nothing else. The asynchronous one is what an eventfd design has where an item is there already: its
 * awaitable is ready, and gives the item through am_send without an exception. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct {
    PyObject_HEAD
    Py_ssize_t left;
    Py_ssize_t length;
    char text[64];
} Strings;

static PyObject *strings_next(Strings *self)
{
    if (self->left == 0) {
        return NULL;
    }
    self->left--;
    return PyUnicode_FromStringAndSize(self->text, self->length);
}

static PyTypeObject strings_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "str_floor.Strings",
    .tp_basicsize = sizeof(Strings),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)strings_next,
};

/* Itself is the awaitable of its next item: one that nobody keeps. */
static PySendResult strings_send(Strings *self, PyObject *value, PyObject **result)
{
    (void)value;
    *result = PyUnicode_FromStringAndSize(self->text, self->length);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *strings_anext(Strings *self)
{
    if (self->left == 0) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return NULL;
    }
    self->left--;
    Py_INCREF(self);
    return (PyObject *)self;
}

static PyObject *never(PyObject *self)
{
    (void)self;
    PyErr_SetString(PyExc_RuntimeError, "the item is there");
    return NULL;
}

static PyAsyncMethods async_methods = {
    .am_await = PyObject_SelfIter,
    .am_aiter = PyObject_SelfIter,
    .am_anext = (unaryfunc)strings_anext,
    .am_send = (sendfunc)strings_send,
};

static PyTypeObject async_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "str_floor.AsyncStrings",
    .tp_basicsize = sizeof(Strings),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &async_methods,
    .tp_iternext = never,
};

static PyObject *make(PyTypeObject *type, PyObject *args)
{
    const char *text;
    Py_ssize_t count, length;
    if (!PyArg_ParseTuple(args, "ns#", &count, &text, &length)) {
        return NULL;
    }
    Strings *self = PyObject_New(Strings, type);
    if (self == NULL) {
        return NULL;
    }
    if (length > (Py_ssize_t)sizeof self->text) {
        length = sizeof self->text;
    }
    memcpy(self->text, text, (size_t)length);
    self->length = length;
    self->left = count;
    return (PyObject *)self;
}

static PyObject *strings(PyObject *module, PyObject *args)
{
    (void)module;
    return make(&strings_type, args);
}

static PyObject *async_strings(PyObject *module, PyObject *args)
{
    (void)module;
    return make(&async_type, args);
}

static PyMethodDef methods[] = {
    {"async_strings", async_strings, METH_VARARGS, "async_strings(count, text): the same for async for."},
    {"strings", strings, METH_VARARGS, "strings(count, text): as many fresh str of that text."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "str_floor", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit_str_floor(void)
{
    if (PyType_Ready(&strings_type) < 0 || PyType_Ready(&async_type) < 0) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
