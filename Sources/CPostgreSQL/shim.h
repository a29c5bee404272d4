#include <libpq-fe.h>
// For the reactor: Swift's Glibc module leaves it out.
#include <sys/epoll.h>
