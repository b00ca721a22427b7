// What the key may do; what it may not is not shown.

/** Whether the key has the scope; `admin` has all. */
export const can = (scope) => document.body.dataset.scopes.split(" ").some((each) => each === scope || each === "admin");
