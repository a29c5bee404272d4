#include <libpq-fe.h>
// For the reactor and those it wakes: Swift's Glibc module leaves them out.
#include <sys/epoll.h>
#include <sys/eventfd.h>
