/* The floor of a text stream: an iterator that makes a fresh str each time and does nothing else. */

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

static PyMethodDef methods[] = {
    {"strings", strings, METH_VARARGS, "strings(count, text): as many fresh str of that text."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "str_floor", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit_str_floor(void)
{
    if (PyType_Ready(&strings_type) < 0) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
