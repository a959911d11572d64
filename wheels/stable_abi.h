/* stable_abi.h - the unchecked accessors that the rooms use, as the checked functions of the stable ABI.
 *
 * Included before every translated room of an abi3 wheel, where CPython's headers do not offer the macros.  The
 * rooms call them on objects whose type they know, so that the functions cannot fail either.
 */
#ifndef SIPCORE_STABLE_ABI_H
#define SIPCORE_STABLE_ABI_H

#include <Python.h>

#define PyBytes_AS_STRING(bytes) PyBytes_AsString(bytes)
#define PyBytes_GET_SIZE(bytes) PyBytes_Size(bytes)
#define PyList_GET_ITEM(list, at) PyList_GetItem(list, at)
#define PyList_GET_SIZE(list) PyList_Size(list)
#define PyTuple_GET_ITEM(tuple, at) PyTuple_GetItem(tuple, at)
#define PyTuple_GET_SIZE(tuple) PyTuple_Size(tuple)
#define PyUnicode_GET_LENGTH(text) PyUnicode_GetLength(text)

/* A str does not show its octets here: it is encoded instead, as any str that is not ASCII is. */
#define PyUnicode_IS_COMPACT_ASCII(text) 0
#define PyUnicode_DATA(text) ((const char *)NULL)

#endif
