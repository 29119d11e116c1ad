/* FIONREAD: octets of the next message; SIOCOUTQ: octets not sent yet; the others as on any socket. */
/* c-tests: variants=lfs */
#include "check.h"
#include <linux/sockios.h>
#include <net/if.h>

static int value_of(int fd, unsigned long request)
{
    int value = -1;
    OK(ioctl(fd, request, &value));
    return value;
}

int main(void)
{
    struct pgm_send_window window = {1000, 0, 1000000};
    struct sockaddr_in a = group(1);
    char message[50000], buffer[100];
    struct ifreq interface;
    long long start;

    begin(40);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "twelve chars");
    send_text(tx, "five5");
    int fd = session(rx);
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    sleep_ms(300);
    EQUAL(value_of(fd, FIONREAD), 12);
    EQUAL(recv(fd, buffer, 4, 0), 4);
    EQUAL(value_of(fd, FIONREAD), 8);
    EXPECT_TEXT(fd, "ve chars");
    EQUAL(value_of(fd, FIONREAD), 5);
    EXPECT_TEXT(fd, "five5");
    EQUAL(value_of(fd, FIONREAD), 0);

    /* 50 kB at 1 Mbit/s take 400 ms to leave. */
    int slow = pgm_socket(0);
    OK(setsockopt(slow, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(slow, SA(a), sizeof(a)));
    EQUAL(value_of(slow, SIOCOUTQ), 0);
    fill(message, sizeof(message), 1);
    EQUAL(send(slow, message, sizeof(message), 0), sizeof(message));
    int unsent = value_of(slow, SIOCOUTQ);
    CHECK(unsent > 0 && unsent <= (int)sizeof(message));
    EQUAL(value_of(slow, TIOCOUTQ) <= unsent, 1);
    for (start = now_ms(); value_of(slow, SIOCOUTQ) > 0; sleep_ms(20))
        CHECK(now_ms() - start < 10000);
    CHECK(now_ms() - start >= 100);

    int on = 1;
    OK(ioctl(fd, FIONBIO, &on));
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EAGAIN);
    OK(ioctl(fd, FIOCLEX));
    EQUAL(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    struct timeval stamp;
    FAILS(ioctl(fd, SIOCGSTAMP, &stamp), ENOENT);
    FAILS(ioctl(tx, SIOCATMARK, NULL), EFAULT);
    EQUAL(sockatmark(tx), 0);
    OK(ioctl(fd, FIOASYNC, &on));
    CHECK(OK(fcntl(fd, F_GETFL)) & O_ASYNC);
    on = 0;
    OK(ioctl(fd, FIOASYNC, &on));
    EQUAL(OK(fcntl(fd, F_GETFL)) & O_ASYNC, 0);
    EQUAL(value_of(fd, SIOCINQ), 0);
    memset(&interface, 0, sizeof(interface));
    strcpy(interface.ifr_name, "lo");
    OK(ioctl(tx, SIOCGIFFLAGS, &interface));
    CHECK(interface.ifr_flags & IFF_LOOPBACK);
    OK(ioctl(fd, SIOCGIFINDEX, &interface));
    EQUAL(interface.ifr_ifindex, if_nametoindex("lo"));
    OK(ioctl(rx, SIOCGIFMTU, &interface));
    CHECK(interface.ifr_mtu > 0);
    OK(ioctl(tx, SIOCGIFADDR, &interface));
    EQUAL(((struct sockaddr_in *)&interface.ifr_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    strcpy(interface.ifr_name, "nosuch0");
    FAILS(ioctl(tx, SIOCGIFADDR, &interface), ENODEV);
    return 0;
}
