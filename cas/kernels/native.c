/* The hot kernels of cas: byte planes, the ordered difference, the gear-hash scan.
 *
 * Each has a twin of the same name in _numpy.py that gives the same bits; what
 * they compute is said once, in __init__.py, whose wrappers check every argument.
 * What could touch memory wrongly is checked here again, as a ValueError. The GIL
 * is released around every loop. Limited API of Python 3.11: one binary serves
 * all later Pythons.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if !(defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) && !defined(_WIN32)
#error "items are read as little-endian integers; elsewhere cas runs on its NumPy kernels"
#endif

#ifdef _MSC_VER
#define restrict __restrict
#endif

/* Wheels are built for the oldest x86-64. Where the C library can choose between
 * clones of a function when it loads one, these loops are compiled for AVX2 too. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define CLONED __attribute__((target_clones("avx2", "default")))
#define HAS_CLONES 1
#endif
#endif
#ifndef CLONED
#define CLONED
#define HAS_CLONES 0
#endif

#define MAX_ITEMSIZE 8
#define GEAR_WINDOW 64

/* ---- items: unaligned loads, rotation, the ordered difference ---- */

/* sortable: a float's bits as a signed integer that sorts as the float does: a
 * negative float grows downwards, so its lower bits are flipped. Its own inverse.
 * A variable count of 0 or 1 keeps one loop for both rotations, and vectorizes. */
#define ITEM_OPERATIONS(BITS)                                                                      \
    static inline uint##BITS##_t load##BITS(const uint8_t *from)                                   \
    {                                                                                              \
        uint##BITS##_t item;                                                                       \
        memcpy(&item, from, sizeof item);                                                          \
        return item;                                                                               \
    }                                                                                              \
    static inline void store##BITS(uint8_t *to, uint##BITS##_t item)                               \
    {                                                                                              \
        memcpy(to, &item, sizeof item);                                                            \
    }                                                                                              \
    static inline uint##BITS##_t rotate_left##BITS(uint##BITS##_t item, unsigned count)            \
    {                                                                                              \
        return (uint##BITS##_t)((item << count) | (item >> ((BITS - count) & (BITS - 1))));        \
    }                                                                                              \
    static inline uint##BITS##_t rotate_right##BITS(uint##BITS##_t item, unsigned count)           \
    {                                                                                              \
        return (uint##BITS##_t)((item >> count) | (item << ((BITS - count) & (BITS - 1))));        \
    }                                                                                              \
    static inline uint##BITS##_t sortable##BITS(uint##BITS##_t item)                               \
    {                                                                                              \
        uint##BITS##_t all_if_negative = (uint##BITS##_t)(0 - (item >> (BITS - 1)));               \
        return (uint##BITS##_t)(item ^ (all_if_negative >> 1));                                    \
    }                                                                                              \
    CLONED static void difference##BITS(const uint8_t *restrict data, const uint8_t *restrict base, \
                                        uint8_t *restrict residual, size_t items)                  \
    {                                                                                              \
        for (size_t i = 0; i < items; i++) {                                                       \
            uint##BITS##_t here = sortable##BITS(load##BITS(data + i * (BITS / 8)));               \
            uint##BITS##_t there = sortable##BITS(load##BITS(base + i * (BITS / 8)));              \
            uint##BITS##_t step = (uint##BITS##_t)(here - there);                                  \
            uint##BITS##_t all_if_negative = (uint##BITS##_t)(0 - (step >> (BITS - 1)));           \
            store##BITS(residual + i * (BITS / 8), (uint##BITS##_t)((step << 1) ^ all_if_negative)); \
        }                                                                                          \
    }                                                                                              \
    CLONED static void undo_difference##BITS(const uint8_t *restrict residual, const uint8_t *restrict base, \
                                             uint8_t *restrict data, size_t items)                 \
    {                                                                                              \
        for (size_t i = 0; i < items; i++) {                                                       \
            uint##BITS##_t zigzag = load##BITS(residual + i * (BITS / 8));                         \
            uint##BITS##_t there = sortable##BITS(load##BITS(base + i * (BITS / 8)));              \
            uint##BITS##_t step = (uint##BITS##_t)((zigzag >> 1) ^ (0 - (zigzag & 1)));            \
            store##BITS(data + i * (BITS / 8), sortable##BITS((uint##BITS##_t)(step + there)));    \
        }                                                                                          \
    }

ITEM_OPERATIONS(16)
ITEM_OPERATIONS(32)
ITEM_OPERATIONS(64)

/* ---- byte planes: named restrict pointers, for without them eight streams do not vectorize ---- */

CLONED static void split2(const uint8_t *restrict data, size_t items, unsigned rotation,
                          uint8_t *restrict p0, uint8_t *restrict p1)
{
    for (size_t i = 0; i < items; i++) {
        uint16_t item = rotate_left16(load16(data + 2 * i), rotation);
        p0[i] = (uint8_t)item;
        p1[i] = (uint8_t)(item >> 8);
    }
}

CLONED static void split4(const uint8_t *restrict data, size_t items, unsigned rotation,
                          uint8_t *restrict p0, uint8_t *restrict p1, uint8_t *restrict p2, uint8_t *restrict p3)
{
    for (size_t i = 0; i < items; i++) {
        uint32_t item = rotate_left32(load32(data + 4 * i), rotation);
        p0[i] = (uint8_t)item;
        p1[i] = (uint8_t)(item >> 8);
        p2[i] = (uint8_t)(item >> 16);
        p3[i] = (uint8_t)(item >> 24);
    }
}

CLONED static void split8(const uint8_t *restrict data, size_t items, unsigned rotation,
                          uint8_t *restrict p0, uint8_t *restrict p1, uint8_t *restrict p2, uint8_t *restrict p3,
                          uint8_t *restrict p4, uint8_t *restrict p5, uint8_t *restrict p6, uint8_t *restrict p7)
{
    for (size_t i = 0; i < items; i++) {
        uint64_t item = rotate_left64(load64(data + 8 * i), rotation);
        p0[i] = (uint8_t)item;
        p1[i] = (uint8_t)(item >> 8);
        p2[i] = (uint8_t)(item >> 16);
        p3[i] = (uint8_t)(item >> 24);
        p4[i] = (uint8_t)(item >> 32);
        p5[i] = (uint8_t)(item >> 40);
        p6[i] = (uint8_t)(item >> 48);
        p7[i] = (uint8_t)(item >> 56);
    }
}

CLONED static void join2(uint8_t *restrict data, size_t items, unsigned rotation,
                         const uint8_t *restrict p0, const uint8_t *restrict p1)
{
    for (size_t i = 0; i < items; i++)
        store16(data + 2 * i, rotate_right16((uint16_t)(p0[i] | p1[i] << 8), rotation));
}

CLONED static void join4(uint8_t *restrict data, size_t items, unsigned rotation,
                         const uint8_t *restrict p0, const uint8_t *restrict p1,
                         const uint8_t *restrict p2, const uint8_t *restrict p3)
{
    for (size_t i = 0; i < items; i++) {
        uint32_t item = p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
        store32(data + 4 * i, rotate_right32(item, rotation));
    }
}

CLONED static void join8(uint8_t *restrict data, size_t items, unsigned rotation,
                         const uint8_t *restrict p0, const uint8_t *restrict p1,
                         const uint8_t *restrict p2, const uint8_t *restrict p3,
                         const uint8_t *restrict p4, const uint8_t *restrict p5,
                         const uint8_t *restrict p6, const uint8_t *restrict p7)
{
    for (size_t i = 0; i < items; i++) {
        uint64_t item = p0[i] | (uint64_t)p1[i] << 8 | (uint64_t)p2[i] << 16 | (uint64_t)p3[i] << 24 |
                        (uint64_t)p4[i] << 32 | (uint64_t)p5[i] << 40 | (uint64_t)p6[i] << 48 | (uint64_t)p7[i] << 56;
        store64(data + 8 * i, rotate_right64(item, rotation));
    }
}

/* ---- the gear scan ---- */

/* The first place from `at` on whose hash is zero under the mask, or `limit`; `hash` is carried on.
 * Two bytes a round halve the chain of dependent additions, which is what the time goes into. */
static size_t scan_until(const uint8_t *data, size_t at, size_t limit, const uint64_t *gear, uint64_t mask,
                         uint64_t *hash)
{
    uint64_t here = *hash;

    for (; at + 2 <= limit; at += 2) {
        uint64_t first = gear[data[at]], both = (first << 1) + gear[data[at + 1]];
        if (!(here & mask) || !(((here << 1) + first) & mask))
            break;
        here = (here << 2) + both;
    }
    for (; at < limit && (here & mask); at++)
        here = (here << 1) + gear[data[at]];
    *hash = here;
    return at;
}

static size_t find_boundary(const uint8_t *data, size_t size, const uint8_t *table, size_t min_size,
                            size_t normal_size, size_t max_size, uint64_t mask_small, uint64_t mask_large)
{
    uint64_t gear[256], hash = 0;
    size_t limit = size < max_size ? size : max_size, normal = normal_size < limit ? normal_size : limit, end;

    if (limit <= min_size)
        return limit;
    memcpy(gear, table, sizeof gear);
    for (size_t i = min_size > GEAR_WINDOW ? min_size - GEAR_WINDOW : 0; i < min_size; i++)
        hash = (hash << 1) + gear[data[i]];
    end = scan_until(data, min_size, normal, gear, mask_small, &hash);
    return end < normal ? end : scan_until(data, normal, limit, gear, mask_large, &hash);
}

/* ---- what Python calls ---- */

static int check_itemsize(Py_ssize_t itemsize)
{
    if (itemsize == 2 || itemsize == 4 || itemsize == 8)
        return 1;
    PyErr_SetString(PyExc_ValueError, "items have 2, 4 or 8 bytes");
    return 0;
}

static PyObject *shuffle(PyObject *self, PyObject *args)
{
    Py_buffer data, out;
    Py_ssize_t itemsize;
    int sign_last;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*npw*:shuffle", &data, &itemsize, &sign_last, &out))
        return NULL;
    if (!check_itemsize(itemsize))
        goto done;
    if (data.len % itemsize || out.len != data.len) {
        PyErr_SetString(PyExc_ValueError, "not whole items, or room of another size");
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    size_t items = (size_t)(data.len / itemsize);
    unsigned rotation = sign_last ? 1 : 0;
    uint8_t *p[MAX_ITEMSIZE];
    for (Py_ssize_t k = 0; k < itemsize; k++)
        p[k] = (uint8_t *)out.buf + (size_t)k * items;
    if (itemsize == 2)
        split2(data.buf, items, rotation, p[0], p[1]);
    else if (itemsize == 4)
        split4(data.buf, items, rotation, p[0], p[1], p[2], p[3]);
    else
        split8(data.buf, items, rotation, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
    Py_END_ALLOW_THREADS
done:
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *unshuffle(PyObject *self, PyObject *args)
{
    PyObject *planes;
    Py_buffer out, views[MAX_ITEMSIZE];
    Py_ssize_t itemsize, held = 0;
    int sign_last;
    const uint8_t *p[MAX_ITEMSIZE];

    (void)self;
    if (!PyArg_ParseTuple(args, "O!pw*:unshuffle", &PyTuple_Type, &planes, &sign_last, &out))
        return NULL;
    itemsize = PyTuple_Size(planes);
    if (!check_itemsize(itemsize))
        goto done;
    while (held < itemsize) {
        if (PyObject_GetBuffer(PyTuple_GetItem(planes, held), &views[held], PyBUF_SIMPLE))
            goto done;
        p[held] = views[held].buf;
        if (views[held++].len != out.len / itemsize || out.len % itemsize) {
            PyErr_SetString(PyExc_ValueError, "planes of unequal size, or room of another size");
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    size_t items = (size_t)(out.len / itemsize);
    unsigned rotation = sign_last ? 1 : 0;
    if (itemsize == 2)
        join2(out.buf, items, rotation, p[0], p[1]);
    else if (itemsize == 4)
        join4(out.buf, items, rotation, p[0], p[1], p[2], p[3]);
    else
        join8(out.buf, items, rotation, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
    Py_END_ALLOW_THREADS
done:
    while (held)
        PyBuffer_Release(&views[--held]);
    PyBuffer_Release(&out);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

typedef void item_kernel(const uint8_t *restrict, const uint8_t *restrict, uint8_t *restrict, size_t);

static PyObject *apply(PyObject *args, item_kernel *for2, item_kernel *for4, item_kernel *for8)
{
    Py_buffer from, base;
    Py_ssize_t itemsize;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "y*y*n", &from, &base, &itemsize))
        return NULL;
    if (!check_itemsize(itemsize))
        goto done;
    if (from.len % itemsize || from.len != base.len) {
        PyErr_SetString(PyExc_ValueError, "not whole items, or a base of another size");
        goto done;
    }
    if (!(result = PyBytes_FromStringAndSize(NULL, from.len)))
        goto done;
    uint8_t *to = (uint8_t *)PyBytes_AsString(result);
    Py_BEGIN_ALLOW_THREADS
    (itemsize == 2 ? for2 : itemsize == 4 ? for4 : for8)(from.buf, base.buf, to, (size_t)(from.len / itemsize));
    Py_END_ALLOW_THREADS
done:
    PyBuffer_Release(&from);
    PyBuffer_Release(&base);
    return result;
}

static PyObject *difference(PyObject *self, PyObject *args)
{
    (void)self;
    return apply(args, difference16, difference32, difference64);
}

static PyObject *undo_difference(PyObject *self, PyObject *args)
{
    (void)self;
    return apply(args, undo_difference16, undo_difference32, undo_difference64);
}

static PyObject *gear_boundary(PyObject *self, PyObject *args)
{
    Py_buffer data, table;
    Py_ssize_t min_size, normal_size, max_size;
    unsigned long long mask_small, mask_large;
    size_t length = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*nnnKK:gear_boundary", &data, &table, &min_size, &normal_size, &max_size,
                          &mask_small, &mask_large))
        return NULL;
    if (table.len != 256 * 8 || min_size < 1 || normal_size < min_size || max_size < normal_size) {
        PyErr_SetString(PyExc_ValueError, "needs a table of 2048 bytes and 1 <= min <= normal <= max");
    } else {
        Py_BEGIN_ALLOW_THREADS
        length = find_boundary(data.buf, (size_t)data.len, table.buf, (size_t)min_size, (size_t)normal_size,
                               (size_t)max_size, mask_small, mask_large);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&table);
    return PyErr_Occurred() ? NULL : PyLong_FromSize_t(length);
}

static PyObject *backend(PyObject *self, PyObject *args)
{
    (void)self;
    (void)args;
#if HAS_CLONES
    if (__builtin_cpu_supports("avx2"))
        return PyUnicode_FromString("C (avx2)");
#endif
    return PyUnicode_FromString("C (baseline)");
}

static PyMethodDef methods[] = {
    {"shuffle", shuffle, METH_VARARGS, "shuffle(data, itemsize, sign_last, out)"},
    {"unshuffle", unshuffle, METH_VARARGS, "unshuffle(planes, sign_last, out)"},
    {"difference", difference, METH_VARARGS, "difference(data, base, itemsize) -> residual"},
    {"undo_difference", undo_difference, METH_VARARGS, "undo_difference(residual, base, itemsize) -> data"},
    {"gear_boundary", gear_boundary, METH_VARARGS,
     "gear_boundary(data, table, min_size, normal_size, max_size, mask_small, mask_large) -> length"},
    {"backend", backend, METH_NOARGS, "backend() -> C, and the instruction set that its clones use here"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "cas.kernels._native",
    .m_doc = "The C twin of cas.kernels._numpy.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
