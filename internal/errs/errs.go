// Package errs adds the failed operation to errors.
package errs

import "fmt"

// Wrap puts the failed operation in front of a function's error, if there is one:
//
//	defer errs.Wrap(&err, "load the record of service %d", service)
func Wrap(err *error, format string, arguments ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(format, arguments...), *err)
	}
}
