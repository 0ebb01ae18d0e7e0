/* The limit: recv() and nothing else, as fast as a socket can be emptied. Counts bytes; see benchmarks/peers. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static char chunk[65536];

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int file = open(argv[4], O_RDWR);
    volatile uint64_t *handled = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    int link = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (file < 0 || handled == MAP_FAILED || connect(link, (struct sockaddr *)&server, sizeof server) < 0) return 1;
    dprintf(link, "PSUBSCRIBE %s\r\n", argv[3]);
    /* Nothing is published before we are ready: what comes until the third line of its count is the confirmation. */
    for (size_t held = 0; !memmem(chunk, held, "\r\n:1\r\n", 6);) {
        ssize_t got = recv(link, chunk + held, sizeof chunk - held, 0);
        if (got <= 0) return 1;
        held += (size_t)got;
    }
    puts("ready");
    fflush(stdout);
    for (ssize_t got; (got = recv(link, chunk, sizeof chunk, 0)) > 0;) *handled += (uint64_t)got;
    return 0;
}
