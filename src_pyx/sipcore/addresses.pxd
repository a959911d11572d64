"""IP addresses with a port in C (address.h)."""

from libc.stdint cimport uint16_t, uint32_t


cdef extern from "address.h" nogil:
    ctypedef struct host_address:
        pass
    enum:
        ADDRESS_TEXT_SIZE
    unsigned int address_size(const host_address *address)
    int address_parse(host_address *address, const char *text, int port)
    void address_format(const host_address *address, char *text)
    int address_port(const host_address *address)
    bint address_equal(const host_address *a, const host_address *b)
    bint address_is_v4(const host_address *address)
    bint address_is_wildcard(const host_address *address)
    bint address_is_unicast(const host_address *address)
    uint32_t address_v4(const host_address *address)
    void address_set_v4(host_address *address, uint32_t host, uint16_t port)
    void address_map(host_address *address)
    void address_clear(host_address *address)
    void address_octets(const host_address *address, unsigned char *octets)
    void address_from_octets(host_address *address, const unsigned char *octets, uint32_t scope, uint16_t port)
    uint32_t address_scope(const host_address *address)
