// receive.js URL raw|v1 plain|deflate HEADER USER: connects, says "connected", prints the data of the first
// message as JSON, closes, and exits with 0 when the close was clean.
"use strict";

const WebSocket = require("ws");

const [url, mode, compress, header, user] = process.argv.slice(2);
const protocols = mode === "v1" ? ["tidegate.v1.json"] : [];
const socket = new WebSocket(url, protocols, {
  headers: { [header]: user },
  perMessageDeflate: compress === "deflate",
});

function finish(data) {
  console.log(JSON.stringify(data));
  socket.close(1000);
}

function onFrame(frame) {
  if (frame.t === "welcome") {
    console.log("connected");
  } else if (frame.t === "msg") {
    finish(frame.data);
  }
}

socket.on("open", () => {
  if (mode === "v1") {
    socket.send(JSON.stringify({ t: "hello", v: 1 }));
  } else {
    console.log("connected");
  }
});
socket.on("message", (bytes) => {
  const value = JSON.parse(bytes.toString());
  if (mode === "raw") {
    finish(value);
  } else {
    [].concat(value).forEach(onFrame);
  }
});
socket.on("close", (code) => process.exit(code === 1000 ? 0 : 1));
socket.on("error", (error) => {
  console.error(String(error));
  process.exit(1);
});
