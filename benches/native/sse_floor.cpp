// The floor of the server: blocking HTTP/1.1, one connection after the other, each event a chunk and a write.
//
//   sse_floor        prints its port, and serves until it is ended
//
// A request's body has a prompt as the null runtime takes it: "<tokens> <microseconds, not used> <text of each>".
// The events are those of our chat stream, byte by byte; what is the same in all of them is rendered once.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

bool written(int to, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = send(to, data, size, MSG_NOSIGNAL);
        if (count <= 0) {
            return false;
        }
        data += count, size -= static_cast<size_t>(count);
    }
    return true;
}

// A text as JSON, which every event has to make of its own.
void append_json(std::string &to, const std::string &text)
{
    to += '"';
    for (char one : text) {
        if (one == '"' || one == '\\') {
            to += '\\';
            to += one;
        } else if (static_cast<unsigned char>(one) < ' ') {
            char escaped[8];
            snprintf(escaped, sizeof escaped, "\\u%04x", one);
            to += escaped;
        } else {
            to += one;
        }
    }
    to += '"';
}

bool chunk(int to, std::string &out, const std::string &event)
{
    char size[32];
    out.assign(size, static_cast<size_t>(snprintf(size, sizeof size, "%zx\r\n", event.size())));
    out += event;
    out += "\r\n";
    return written(to, out.data(), out.size());
}

bool answered(int to, long tokens, const std::string &text)
{
    const std::string head =
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
        "x-request-id: req_000000000000000000000000\r\nTransfer-Encoding: chunked\r\n\r\n";
    const std::string frame =
        "data: {\"id\":\"chatcmpl-000000000000000000000000\",\"object\":\"chat.completion.chunk\","
        "\"created\":1700000000,\"model\":\"null\",\"choices\":[{\"index\":0,\"delta\":{";
    const std::string end = "},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
    const std::string stop = "},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n";
    std::string event = frame + "\"role\":\"assistant\",\"content\":\"\"" + end, out;
    if (!written(to, head.data(), head.size()) || !chunk(to, out, event)) {
        return false;
    }
    for (long at = 0; at < tokens; at++) {
        event = frame;
        event += "\"content\":";
        append_json(event, text);
        event += end;
        if (!chunk(to, out, event)) {
            return false;
        }
    }
    return chunk(to, out, frame + stop) && chunk(to, out, "data: [DONE]\n\n") && written(to, "0\r\n\r\n", 5);
}

// One request after the other, until the client leaves.
void serve(int from)
{
    std::string got;
    char part[4096];
    for (;;) {
        size_t head, length = 0;
        for (;;) {
            head = got.find("\r\n\r\n");
            if (head != std::string::npos) {
                size_t at = got.find("Content-Length: ");
                length = at < head ? strtoul(got.c_str() + at + 16, nullptr, 10) : 0;
                if (got.size() >= head + 4 + length) {
                    break;
                }
            }
            ssize_t count = recv(from, part, sizeof part, 0);
            if (count <= 0) {
                return;
            }
            got.append(part, static_cast<size_t>(count));
        }
        const std::string key = "\"content\": \"";
        size_t at = got.find(key, head);
        if (at == std::string::npos) {
            return;
        }
        char *rest;
        long tokens = strtol(got.c_str() + at + key.size(), &rest, 10);
        strtol(rest, &rest, 10);
        const char *text = *rest == ' ' ? rest + 1 : rest;
        std::string token(text, std::string(text).find('"'));
        if (!answered(from, tokens, token)) {
            return;
        }
        got.erase(0, head + 4 + length);
    }
}

}  // namespace

int main()
{
    int door = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (door < 0 || bind(door, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 || listen(door, 8) != 0 ||
        getsockname(door, reinterpret_cast<sockaddr *>(&address), &size) != 0) {
        perror("sse_floor");
        return 1;
    }
    printf("sse_floor: ready on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(door, nullptr, nullptr);
        if (client >= 0) {
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            serve(client);
            close(client);
        }
    }
}
