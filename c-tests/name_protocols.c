/* getprotobyname and getprotobynumber know PGM, also their reentrant kind; what libc knows comes from libc. */
/* c-tests: variants=asan,valgrind */
#include "check.h"
#include <netdb.h>

static int has_alias(const struct protoent *entry, const char *name)
{
    for (char **alias = entry->p_aliases; *alias != NULL; alias++)
        if (strcmp(*alias, name) == 0)
            return 1;
    return 0;
}

/* The entry itself may be one of /etc/protocols, where somebody has added PGM. */
static void is_pgm(const struct protoent *entry)
{
    CHECK(entry != NULL);
    EQUAL(entry->p_proto, 113);
    CHECK(strcmp(entry->p_name, "pgm") == 0 || has_alias(entry, "pgm"));
    CHECK(has_alias(entry, "PGM") || strcmp(entry->p_name, "PGM") == 0);
}

static void reentrant(void)
{
    struct protoent entry, *result;
    char buffer[4096];

    memset(&entry, 0xee, sizeof(entry));
    result = NULL;
    EQUAL(getprotobyname_r("pgm", &entry, buffer, sizeof(buffer), &result), 0);
    CHECK(result == &entry);
    is_pgm(result);
    memset(&entry, 0xee, sizeof(entry));
    result = NULL;
    EQUAL(getprotobynumber_r(113, &entry, buffer, sizeof(buffer), &result), 0);
    CHECK(result == &entry);
    is_pgm(result);
    result = &entry;
    getprotobyname_r("no-such-protocol", &entry, buffer, sizeof(buffer), &result);
    CHECK(result == NULL);
    result = &entry;
    getprotobynumber_r(254, &entry, buffer, sizeof(buffer), &result);
    CHECK(result == NULL);
    if (getprotobyname("tcp") == NULL)
        return;
    EQUAL(getprotobyname_r("tcp", &entry, buffer, sizeof(buffer), &result), 0);
    EQUAL(result->p_proto, IPPROTO_TCP);
    EQUAL(getprotobynumber_r(IPPROTO_UDP, &entry, buffer, 1, &result), ERANGE);
}

int main(void)
{
    struct protoent *tcp;

    begin(20);
    errno = 0;
    is_pgm(getprotobyname("pgm"));
    EQUAL(errno, 0);
    is_pgm(getprotobyname("PGM"));
    is_pgm(getprotobyname("rm"));
    is_pgm(getprotobynumber(113));
    EQUAL(errno, 0);
    CHECK(getprotobyname("Pgm") == NULL);
    CHECK(getprotobyname("") == NULL);
    CHECK(getprotobyname("no-such-protocol") == NULL);
    CHECK(getprotobynumber(254) == NULL);
    tcp = getprotobyname("tcp");
    CHECK(tcp == NULL || tcp->p_proto == IPPROTO_TCP);
    reentrant();
    pgm_socket(0);
    is_pgm(getprotobyname("pgm"));
    return 0;
}
