// One photo on its way. fetch cannot tell how much of a body was sent; XMLHttpRequest can.

import { ApiError, parse, renew, sessionHeaders, waitOf } from "../lib/api.js";

/** Sends `file`; signs in anew where the session has ended. Resolves to the answer; raises ApiError. */
export async function upload(file, form, onProgress) {
  for (let renewed = 0; ; renewed += 1) {
    try {
      return await sent(file, form, onProgress);
    } catch (error) {
      if (renewed === 2 || !(await renew(error))) throw error;
    }
  }
}

function sent(file, { collection, person }, onProgress) {
  const form = new FormData();
  form.append("photos", file, file.name);
  if (collection) form.append("collection", collection);
  if (person) form.append("person", person);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/photos");
    for (const [name, value] of Object.entries(sessionHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const body = parse(request.responseText);
      if (request.status === 202 && body) resolve(body);
      else reject(new ApiError(request.status, body, waitOf(request.getResponseHeader("Retry-After"))));
    };
    request.onerror = request.onabort = request.ontimeout = () => reject(new ApiError(0));
    request.send(form);
  });
}
