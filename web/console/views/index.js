// The views, in the order of the navigation. A view is a module views/NAME.js that exports
//   title            in the navigation and as the page's heading
//   icon             the path of an icon of 20 by 20 (dom.js)
//   mount(root, context)
//                    fills root; may return a function that is called when the view goes
// and a line here. context is
//   session          who is signed in: {role: "read" | "operate", app, apps, cluster, node, …}
//   operates         whether what changes anything may be offered
//   params           of the address, URLSearchParams: #/users?q=42
//   app              the app chosen at the top, "" for all
//   signal           aborts when the view goes: for fetches, polls and listeners
//   go(name, params) leads to another view (links do, too: href="#/users?q=42")
//   fail(error)      shows that something went wrong, until the next ok()
//   ok()             what failed works again
// When the app, or the address's parameters, change, the view is mounted anew.

import * as overview from "./overview.js";
import * as nodes from "./nodes.js";
import * as users from "./users.js";
import * as send from "./send.js";
import * as tickets from "./tickets.js";
import * as alerts from "./alerts.js";
import * as errors from "./errors.js";

export const views = { overview, nodes, users, send, tickets, alerts, errors };
