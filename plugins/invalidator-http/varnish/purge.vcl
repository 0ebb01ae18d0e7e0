vcl 4.1;

# What Varnish needs in order to be purged by `type: http`. Include it before your own subroutines:
#
#     include "/etc/varnish/purge.vcl";
#
# xkey is in the package varnish-modules; without it, leave out the lines that name it.

import purge;
import std;
import xkey;

# Who may purge. A proxy in front of Varnish, on the same host, is one of these too: let it pass on GET and HEAD only.
acl purgers {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    if (req.method == "PURGE" || req.method == "BAN") {
        if (client.ip !~ purgers) {
            return (synth(403, "Not from here"));
        }
        if (req.method == "BAN") {
            if (!std.ban(req.http.X-Ban)) {
                return (synth(400, std.ban_error()));
            }
            return (synth(200, "Banned"));
        }
        if (req.http.xkey) {
            if (req.http.X-Soft) {
                set req.http.X-Purged = xkey.softpurge(req.http.xkey);
            } else {
                set req.http.X-Purged = xkey.purge(req.http.xkey);
            }
            return (synth(200, "Purged " + req.http.X-Purged));
        }
        if (req.http.X-Soft) {
            # Looked up like a GET, and marked where it is found.
            return (hash);
        }
        return (purge);
    }
}

sub vcl_hit {
    if (req.method == "PURGE") {
        purge.soft(0s);
        return (synth(200, "Marked stale"));
    }
}

sub vcl_miss {
    if (req.method == "PURGE") {
        purge.soft(0s);
        return (synth(200, "Marked stale"));
    }
}

sub vcl_pass {
    if (req.method == "PURGE") {
        return (synth(200, "Not cached"));
    }
}

sub vcl_backend_response {
    # A ban that looks at the object alone is worked off by the ban lurker; one that looks at the request waits for it.
    set beresp.http.x-url = bereq.url;
    set beresp.http.x-host = bereq.http.host;
}

sub vcl_deliver {
    unset resp.http.x-url;
    unset resp.http.x-host;
    unset resp.http.xkey;
}
