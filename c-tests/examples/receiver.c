/* receiver GROUP PORT: print the messages of one sender. */
#include <arpa/inet.h>
#include <linux/pgm.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in group = {.sin_family = AF_INET}, sender;
    socklen_t length = sizeof(sender);
    static char message[65536];
    ssize_t n;

    if (argc != 3 || inet_pton(AF_INET, argv[1], &group.sin_addr) != 1)
        return 2;
    group.sin_port = htons(atoi(argv[2]));

    int listener = socket(AF_INET, SOCK_RDM, IPPROTO_UDP);
    if (listener == -1 ||
        bind(listener, (struct sockaddr *)&group, sizeof(group)) == -1 ||
        listen(listener, 1) == -1) {
        perror("listen");
        return 1;
    }
    int session = accept(listener, (struct sockaddr *)&sender, &length);
    if (session == -1) {
        perror("accept");
        return 1;
    }
    while ((n = recv(session, message, sizeof(message), 0)) > 0) {
        printf("%s: %.*s", inet_ntoa(sender.sin_addr), (int)n, message);
        fflush(stdout);
    }
    if (n == -1)
        perror("recv"); /* ECONNRESET: something is lost for good */
    close(session);
    close(listener);
    return n == 0 ? 0 : 1;
}
